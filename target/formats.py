"""Number formats as rows: what a weight slot means and how a block is scaled.

A format that is only numbers is a row here, not a file. The C++ core gets the same rows
through the generated header.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from .errors import ConfigError

MICRO_BLOCK = 8
"""Consecutive output channels that share one outlier exponent (B_u, MicroScopiQ A1)."""
MACRO_BLOCK = 128
"""Consecutive output channels that share one inlier scale (B_M, MicroScopiQ A1)."""
GROUP_SIZE = 128
"""Input channels of a group in all formats so far."""
MAX_OUTLIERS = 4
"""Outliers a micro-block can hold, because each needs a pruned slot for its Lower half."""
CLUSTER = 3
"""Consecutive input channels of one output channel that share 6 bits (FineQ)."""
CLUSTER_BITS = 6
"""Three weights of 2 bits, or two of 3 bits beside a zero that isn't stored (FineQ)."""
CLUSTER_PAIR = 2 * CLUSTER
"""Input channels of two neighbouring clusters, which share a pattern of 2 bits (FineQ)."""
CLUSTER_GROUP = 24
"""Input channels whose clusters and patterns fill whole bytes: 7 of them (FineQ)."""
EXPONENT_MIN, EXPONENT_MAX = -126, 127
"""Range of a power-of-two scale: the exponents of normal fp32 numbers."""
MAX_GROUP = 256
"""Rows that a panel's header can tell."""
VICTIM = 8
"""Code of 4 bits of a victim: a weight that is 0, and whose neighbour is an outlier (OliVe)."""
VICTIM_BIAS = 2
"""Exponent bias of outliers beside a victim, so that they begin above the codes of INT4 (OliVe)."""
BESIDE_VICTIM = tuple(
    (-1 if code & VICTIM else 1)
    * ((2 + (code & 1)) << ((code >> 1 & 3) + VICTIM_BIAS))
    * bool(code & 7)
    for code in range(16)
)
"""Integers of codes beside a victim: abfloat E2M1, ``(2 + m) << (e + bias)``; e = m = 0 is 0."""
OUTLIER_EXPONENT = {
    # bits: (level-1 bits, microexponent bits) of the MXScale byte (MicroScopiQ A1)
    2: (7, 1),
    4: (5, 3),
}


class Codes(Enum):
    """How the weights of a format are coded; each member gives the integers of its codes."""

    TWOS_COMPLEMENT = auto()
    SIGN_MAGNITUDE = auto()
    CLUSTERS = auto()
    """Sign and magnitude of several widths, three inputs in 6 bits (`target.clusters`)."""
    VICTIM_PAIRS = auto()
    """Two's complement, or an outlier beside a victim: two inputs tell (`target.victims`)."""


class ScaleKind(Enum):
    """What shares a scale, as the docs say it."""

    COLUMN_FP16 = "fp16 per output channel and {group} input channels"
    ROW_POW2 = f"power of two per input channel and {MACRO_BLOCK} output channels"


def _twos_complement(bits: int) -> list[int]:
    return [code - (code >> (bits - 1) << bits) for code in range(1 << bits)]


def _sign_magnitude(bits: int) -> list[int]:
    half = 1 << (bits - 1)
    return [code if code < half else half - code for code in range(2 * half)]


def _beside_no_victim(bits: int) -> list[int]:
    return [0 if code == VICTIM else value for code, value in enumerate(_twos_complement(bits))]


VALUES: dict[Codes, Callable[[int], list[int]]] = {
    Codes.TWOS_COMPLEMENT: _twos_complement,
    Codes.SIGN_MAGNITUDE: _sign_magnitude,
    Codes.CLUSTERS: _sign_magnitude,
    Codes.VICTIM_PAIRS: _beside_no_victim,
}
"""The integers of the codes 0, 1, .. of a width; of pairs those beside no victim."""


@dataclass(frozen=True)
class WeightFormat:
    """One row of the weight-format registry.

    Attributes
    ----------
    code : int
        Number by which instructions and panels name the format.
    bits : int
        Bits of one weight slot; in clusters, of the widest weight.
    codes : Codes
        What the bits of a slot mean.
    scale : ScaleKind
        ``COLUMN_FP16``: one fp16 factor per (output channel, group); ``ROW_POW2``: one power of
        two per (input channel, macro-block), aligned to the panel's base exponent.
    description : str
        One line for listings.
    mantissa_bits : int
        Mantissa bits of an outlier, 0 for a format without outliers.
    group : int
        Input channels whose integer products are summed before one scaling to fp32: a panel's.
    """

    name: str
    code: int
    bits: int
    codes: Codes
    scale: ScaleKind
    description: str
    mantissa_bits: int = 0
    group: int = GROUP_SIZE

    def __post_init__(self) -> None:
        mistakes = [
            f"{name} = {value}: allowed {allowed}"
            for name, value, good, allowed in (
                ("code", self.code, 0 < self.code < 256, "1 to 255"),
                ("bits", self.bits, 2 <= self.bits <= 8, "2 to 8"),
                ("group", self.group, 0 < self.group <= MAX_GROUP, f"1 to {MAX_GROUP}"),
            )
            if not good
        ]
        kinds = (Codes.SIGN_MAGNITUDE, ScaleKind.ROW_POW2)
        fits = self.bits in OUTLIER_EXPONENT and (self.codes, self.scale) == kinds
        if self.has_outliers and not fits:
            mistakes.append(
                f"outliers in {self.bits} bits of {self.codes.name} with {self.scale.name}: "
                f"allowed {', '.join(map(str, OUTLIER_EXPONENT))} bits of SIGN_MAGNITUDE with "
                "ROW_POW2"
            )
        if self.pairs and (self.bits != 4 or self.group % 2):
            mistakes.append(
                f"pairs of {self.bits} bits in groups of {self.group}: allowed 4 bits, even groups"
            )
        if mistakes:
            raise ConfigError(f"weight format '{self.name}': {'; '.join(mistakes)}")

    @property
    def values(self) -> tuple[int, ...]:
        """Integers of the slot codes, without outliers."""
        return tuple(VALUES[self.codes](self.bits))

    @property
    def q_max(self) -> int:
        """Largest magnitude of an inlier: codes are symmetric."""
        return (1 << (self.bits - 1)) - 1

    @property
    def largest(self) -> int:
        """Largest magnitude of an integer that one slot gives, of pairs an outlier's."""
        return max(map(abs, BESIDE_VICTIM if self.pairs else self.values))

    @property
    def has_outliers(self) -> bool:
        return self.mantissa_bits > 0

    @property
    def guard_bits(self) -> int:
        """Fraction bits of partial sums: the merge shifts right by up to a mantissa's width."""
        return self.mantissa_bits

    @property
    def sign_magnitude(self) -> bool:
        """Weights are signs and magnitudes, as PEs take them without loss of -0."""
        return self.codes in (Codes.SIGN_MAGNITUDE, Codes.CLUSTERS)

    @property
    def cluster(self) -> int:
        """Input channels that share a payload; 0 where every weight has a slot of its own."""
        return CLUSTER if self.codes is Codes.CLUSTERS else 0

    @property
    def pairs(self) -> bool:
        """Two neighbouring inputs tell together what their codes mean."""
        return self.codes is Codes.VICTIM_PAIRS

    @property
    def alone(self) -> bool:
        """The code of a weight says what it is, so that inputs can be rounded one by one."""
        return not self.cluster and not self.pairs


WEIGHT_FORMATS = {
    row.name: row
    for row in (
        WeightFormat(
            "int4",
            1,
            4,
            Codes.TWOS_COMPLEMENT,
            ScaleKind.COLUMN_FP16,
            "symmetric INT4, fp16 scale per 128 inputs",
        ),
        WeightFormat(
            "int8",
            2,
            8,
            Codes.TWOS_COMPLEMENT,
            ScaleKind.COLUMN_FP16,
            "symmetric INT8, fp16 scale per 128 inputs",
        ),
        WeightFormat(
            "ms2",
            3,
            2,
            Codes.SIGN_MAGNITUDE,
            ScaleKind.ROW_POW2,
            "MicroScopiQ 2-bit: MX-INT-2 inliers, e1m2 outliers",
            mantissa_bits=2,
        ),
        WeightFormat(
            "ms4",
            4,
            4,
            Codes.SIGN_MAGNITUDE,
            ScaleKind.ROW_POW2,
            "MicroScopiQ 4-bit: MX-INT-4 inliers, e3m4 outliers",
            mantissa_bits=4,
        ),
        WeightFormat(
            "fineq",
            5,
            3,
            Codes.CLUSTERS,
            ScaleKind.COLUMN_FP16,
            "FineQ: 24 weights of 2 or 3 bits in 7 bytes, fp16 scale per 128 inputs",
        ),
        WeightFormat(
            "olive4",
            6,
            4,
            Codes.VICTIM_PAIRS,
            ScaleKind.COLUMN_FP16,
            "OliVe 4-bit: INT4, or an outlier and its victim; fp16 scale per 128 inputs",
        ),
    )
}
BY_CODE = {row.code: row for row in WEIGHT_FORMATS.values()}

ROWS_INT8 = 0
"""Format code of an operand that was quantized at run time: int8 rows, power-of-two scales."""


@dataclass(frozen=True)
class ActivationFormat:
    """One row of the activation-format registry: codes beside a power of two per group.

    Attributes
    ----------
    bits : int
        Bits of a code. Narrow ones are stored sign-extended, a byte each (MicroScopiQ A3).
    description : str
        One line for listings.
    group : int
        Inputs of a row that share an exponent.
    """

    name: str
    bits: int
    description: str
    group: int = GROUP_SIZE

    @property
    def q_max(self) -> int:
        """Largest magnitude of a code: codes are symmetric."""
        return (1 << (self.bits - 1)) - 1

    @property
    def top_bit(self) -> int:
        """Place of the largest magnitude's first bit, right below the sign.

        A group's exponent is ``floor(log2 max|x|)`` less this (OCP MX).
        """
        return self.bits - 2


ACTIVATION_FORMATS = {
    row.name: row
    for row in (
        ActivationFormat("mx-int8", 8, "MX-INT-8: 8 bits, power of two per 128 inputs of a row"),
        ActivationFormat("mx-int4", 4, "MX-INT-4: 4 bits, power of two per 128 inputs of a row"),
    )
}
DEFAULT_ACTIVATION = "mx-int8"
ACTIVATION_BITS = tuple(sorted(row.bits for row in ACTIVATION_FORMATS.values()))
"""Widths of codes that `absmax` and `quant` can be told."""


def outlier_exponent_range(bits: int) -> tuple[int, int]:
    """Return the smallest and largest ``E - Isf`` that the MXScale byte of a format holds.

    The level-1 exponent is signed, the microexponent is not; the byte holds their sum.
    """
    level1, micro = OUTLIER_EXPONENT[bits]
    return -(1 << (level1 - 1)), (1 << (level1 - 1)) - 1 + (1 << micro) - 1
