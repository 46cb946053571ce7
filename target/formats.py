"""Number formats as rows: what a weight slot means and how a block is scaled.

A format that is only numbers is a row here, not a file. The C++ core gets the same rows
through the generated header.
"""

from dataclasses import dataclass

from .codes import (
    APOT4,
    LARGEST_INTEGER,
    NORMAL_FLOAT,
    VALUES,
    Codes,
    Table,
    minifloat,
    scaled,
)
from .codes import BESIDE_VICTIM as BESIDE_VICTIM
from .codes import VICTIM as VICTIM
from .codes import VICTIM_BIAS as VICTIM_BIAS
from .errors import ConfigError
from .scales import COLUMN_SCALES, ColumnScale, ScaleKind
from .scales import EXPONENT_MAX as EXPONENT_MAX
from .scales import EXPONENT_MIN as EXPONENT_MIN
from .scales import MACRO_BLOCK as MACRO_BLOCK

MICRO_BLOCK = 8
"""Consecutive output channels that share one outlier exponent (B_u, MicroScopiQ A1)."""
GROUP_SIZE = 128
"""Input channels of a group where a format says nothing else."""
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
MAX_GROUP = 256
"""Rows that a panel's header can tell."""
OUTLIER_EXPONENT = {
    # bits: (level-1 bits, microexponent bits) of the MXScale byte (MicroScopiQ A1)
    2: (7, 1),
    4: (5, 3),
}


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
        ``COLUMN_..``: one per (output channel, group), stored as the rest of the name says;
        ``ROW_POW2``: one power of two per (input channel, macro-block), aligned to the panel's
        base exponent.
    description : str
        One line for listings.
    mantissa_bits : int
        Mantissa bits of an outlier, 0 for a format without outliers.
    group : int
        Input channels whose integer products are summed before one scaling to fp32: a panel's.
    table : Table or None
        The integers of ``TABLE`` codes.
    fraction_bits : int
        An element is its integer times ``2^-fraction_bits``; a table says its own.
    """

    name: str
    code: int
    bits: int
    codes: Codes
    scale: ScaleKind
    description: str
    mantissa_bits: int = 0
    group: int = GROUP_SIZE
    table: Table | None = None
    fraction_bits: int = 0

    def __post_init__(self) -> None:
        if self.table is not None:
            object.__setattr__(self, "fraction_bits", self.table.fraction_bits)
        mistakes = [
            f"{name} = {value}: allowed {allowed}"
            for name, value, good, allowed in (
                ("code", self.code, 0 < self.code < 256, "1 to 255"),
                ("bits", self.bits, 2 <= self.bits <= 8, "2 to 8"),
                ("group", self.group, 0 < self.group <= MAX_GROUP, f"1 to {MAX_GROUP}"),
                ("fraction_bits", self.fraction_bits, 0 <= self.fraction_bits < 32, "0 to 31"),
            )
            if not good
        ]
        if (self.table is not None) != (self.codes is Codes.TABLE):
            mistakes.append(f"codes = {self.codes.name}: a table goes with TABLE, and only with it")
        if self.table is not None:
            mistakes += self._table_mistakes(self.table.integers)
        if self.fraction_bits and self.scale is ScaleKind.ROW_POW2:
            mistakes.append(f"fraction_bits = {self.fraction_bits} with ROW_POW2: allowed 0")
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

    def _table_mistakes(self, integers: tuple[int, ...]) -> list[str]:
        mistakes = []
        if len(integers) != 1 << self.bits:
            mistakes.append(
                f"a table of {len(integers)} integers: allowed {1 << self.bits}, one for each code"
            )
        beyond = [value for value in integers if abs(value) > LARGEST_INTEGER]
        if beyond:
            mistakes.append(
                f"{beyond[0]} in its table: allowed -{LARGEST_INTEGER} to {LARGEST_INTEGER}"
            )
        if not any(integers):
            mistakes.append("a table of zeros: allowed any with another integer")
        return mistakes

    @property
    def values(self) -> tuple[int, ...]:
        """Integers of the slot codes, without outliers."""
        return self.table.integers if self.table else tuple(VALUES[self.codes](self.bits))

    @property
    def q_max(self) -> int:
        """Largest magnitude of an inlier: codes are symmetric, those of a table about so."""
        return max(map(abs, self.values)) if self.table else (1 << (self.bits - 1)) - 1

    @property
    def pe_bits(self) -> int:
        """Bits of what PEs multiply: those of the code, or those that a table's integers need."""
        return self.q_max.bit_length() + 1 if self.table else self.bits

    @property
    def column_scale(self) -> ColumnScale | None:
        """How columns' scales are stored; None where rows have scales."""
        return COLUMN_SCALES.get(self.scale)

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


TWOS, FP16, E8M0, E4M3 = (
    Codes.TWOS_COMPLEMENT,
    ScaleKind.COLUMN_FP16,
    ScaleKind.COLUMN_E8M0,
    ScaleKind.COLUMN_E4M3,
)


def _ms(code: int, bits: int, mantissa_bits: int, group: int = GROUP_SIZE) -> WeightFormat:
    codes, scale = Codes.SIGN_MAGNITUDE, ScaleKind.ROW_POW2
    what = f"MicroScopiQ {bits}-bit: MX-INT-{bits} inliers, e{2 * bits - mantissa_bits - 1}m"
    what += f"{mantissa_bits} outliers"
    name = f"ms{bits}" if group == GROUP_SIZE else f"ms{bits}-g{group}"
    what += "" if group == GROUP_SIZE else f", summed over {group} inputs"
    return WeightFormat(name, code, bits, codes, scale, what, mantissa_bits, group)


def _integers(name: str, code: int, bits: int, group: int = GROUP_SIZE) -> WeightFormat:
    what = f"symmetric INT{bits}, fp16 scale per {group} inputs"
    return WeightFormat(name, code, bits, TWOS, FP16, what, group=group)


def _mx_integers(code: int, bits: int) -> WeightFormat:
    """Return MXINT of a width: its numbers lie below 2, so that a scale is that of the block."""
    what = f"MXINT{bits}: power of two per block of 32"
    return WeightFormat(
        f"mxint{bits}", code, bits, TWOS, E8M0, what, group=32, fraction_bits=bits - 2
    )


def _table(
    name: str, code: int, table: Table, scale: ScaleKind, group: int, what: str
) -> WeightFormat:
    bits = len(table.integers).bit_length() - 1
    return WeightFormat(name, code, bits, Codes.TABLE, scale, what, group=group, table=table)


WEIGHT_FORMATS = {
    row.name: row
    for row in (
        _integers("int4", 1, 4),
        _integers("int8", 2, 8),
        _ms(3, 2, 2),
        _ms(4, 4, 4),
        WeightFormat(
            "fineq",
            5,
            3,
            Codes.CLUSTERS,
            FP16,
            "FineQ: 24 weights of 2 or 3 bits in 7 bytes, fp16 scale per 128 inputs",
        ),
        WeightFormat(
            "olive4",
            6,
            4,
            Codes.VICTIM_PAIRS,
            FP16,
            "OliVe 4-bit: INT4, or an outlier and its victim; fp16 scale per 128 inputs",
        ),
        _integers("int2", 7, 2),
        _integers("int3", 8, 3),
        _integers("int6", 9, 6),
        _integers("int4-g64", 10, 4, group=64),
        _integers("int4-g32", 11, 4, group=32),
        _mx_integers(12, 4),
        _mx_integers(13, 6),
        _mx_integers(14, 8),
        _table("mxfp4", 15, minifloat(2, 1), E8M0, 32, "MXFP4: E2M1, power of two per 32 (OCP)"),
        _table("mxfp6", 16, minifloat(2, 3), E8M0, 32, "MXFP6: E2M3, power of two per 32 (OCP)"),
        _table("nvfp4", 17, minifloat(2, 1), E4M3, 16, "NVFP4: E2M1, E4M3 scale per 16 inputs"),
        WeightFormat("nvint4", 18, 4, TWOS, E4M3, "NVINT4: INT4, E4M3 scale per 16", group=16),
        _table("nf4", 19, scaled(NORMAL_FLOAT), FP16, 64, "NormalFloat-4, fp16 scale per 64"),
        _table("fp4-e1m2", 20, minifloat(1, 2), FP16, 128, "E1M2, fp16 scale per 128 inputs"),
        _table("fp4-e2m1", 21, minifloat(2, 1), FP16, 128, "E2M1, fp16 scale per 128 inputs"),
        _table("fp4-e3m0", 22, minifloat(3, 0), FP16, 128, "E3M0, fp16 scale per 128 inputs"),
        _table("apot4", 23, APOT4, FP16, 128, "APoT: sums of powers of two, fp16 per 128 inputs"),
        _ms(24, 4, 4, group=32),
        _ms(25, 4, 4, group=16),
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
    signed : bool
        Codes are symmetric; if not, there is none below 0, and inputs mustn't be.
    """

    name: str
    bits: int
    description: str
    group: int = GROUP_SIZE
    signed: bool = True

    @property
    def code_bits(self) -> int:
        """Bits of the signed integers that codes are to the array: one more without a sign."""
        return self.bits + (not self.signed)

    @property
    def q_max(self) -> int:
        """Largest magnitude of a code."""
        return (1 << (self.code_bits - 1)) - 1

    @property
    def by_pixel(self) -> bool:
        """A convolution's rows have their own exponents, where it has no groups of channels.

        Finer than an image and a group of channels, which is what others share one in.
        """
        return self.group < GROUP_SIZE

    @property
    def top_bit(self) -> int:
        """Place of the largest magnitude's first bit, right below the sign.

        A group's exponent is ``floor(log2 max|x|)`` less this (OCP MX).
        """
        return self.code_bits - 2


def _mx_activations(bits: int, group: int, signed: bool = True) -> ActivationFormat:
    """Return MXINT of a width: with blocks of 32 OCP's, whose exponents are these."""
    kind = f"int{bits}" if signed else f"uint{bits}"
    what = f"MX{kind.upper()}: {bits} bits, power of two per {group} inputs of a row"
    what += "" if signed else ", none below 0"
    name = f"mx{kind}" if group == 32 else f"mx{kind}-g{group}"
    return ActivationFormat(name, bits, what, group, signed)


ACTIVATION_FORMATS = {
    row.name: row
    for row in (
        ActivationFormat("mx-int8", 8, "MX-INT-8: 8 bits, power of two per 128 inputs of a row"),
        ActivationFormat("mx-int4", 4, "MX-INT-4: 4 bits, power of two per 128 inputs of a row"),
        *(_mx_activations(bits, group) for group in (32, 16) for bits in (8, 6, 4)),
        *(_mx_activations(4, group, signed=False) for group in (128, 32, 16)),
    )
}
DEFAULT_ACTIVATION = "mx-int8"
ACTIVATION_BITS = tuple(sorted({row.code_bits for row in ACTIVATION_FORMATS.values()}))
"""Widths of codes that `absmax` and `quant` can be told."""


def outlier_exponent_range(bits: int) -> tuple[int, int]:
    """Return the smallest and largest ``E - Isf`` that the MXScale byte of a format holds.

    The level-1 exponent is signed, the microexponent is not; the byte holds their sum.
    """
    level1, micro = OUTLIER_EXPONENT[bits]
    return -(1 << (level1 - 1)), (1 << (level1 - 1)) - 1 + (1 << micro) - 1
