"""Number formats as rows: what a weight slot means and how a block is scaled.

A format that is only numbers is a row here, not a file. The C++ core gets the same rows
through the generated header.
"""

from dataclasses import dataclass

MICRO_BLOCK = 8
"""Consecutive output channels that share one outlier exponent (B_u, MicroScopiQ A1)."""
MACRO_BLOCK = 128
"""Consecutive output channels that share one inlier scale (B_M, MicroScopiQ A1)."""
GROUP_SIZE = 128
"""Input channels whose integer products are summed before one scaling to fp32."""
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


@dataclass(frozen=True)
class WeightFormat:
    """One row of the weight-format registry.

    Attributes
    ----------
    code : int
        Number by which instructions and panels name the format.
    bits : int
        Bits of one weight slot; in clusters, of the widest weight.
    scale : str
        ``"fp16"``: one fp16 factor per (output channel, group); ``"pow2"``: one power of two
        per (input channel, macro-block), aligned to the panel's base exponent.
    mantissa_bits : int
        Mantissa bits of an outlier, 0 for a format without outliers.
    guard_bits : int
        Fraction bits the partial sums carry so that the Upper/Lower merge truncates nothing.
    description : str
        One line for listings.
    cluster : int
        Input channels that share a payload; 0 where every weight has a slot of its own.
    """

    name: str
    code: int
    bits: int
    scale: str
    mantissa_bits: int
    guard_bits: int
    description: str
    cluster: int = 0

    @property
    def q_max(self) -> int:
        """Largest magnitude of an inlier: codes are symmetric."""
        return (1 << (self.bits - 1)) - 1

    @property
    def has_outliers(self) -> bool:
        return self.mantissa_bits > 0

    @property
    def sign_magnitude(self) -> bool:
        """Slots are sign and magnitude; two's complement otherwise."""
        return self.has_outliers or self.cluster > 0


WEIGHT_FORMATS = {
    row.name: row
    for row in (
        WeightFormat("int4", 1, 4, "fp16", 0, 0, "symmetric INT4, fp16 scale per 128 inputs"),
        WeightFormat("int8", 2, 8, "fp16", 0, 0, "symmetric INT8, fp16 scale per 128 inputs"),
        WeightFormat(
            "ms2", 3, 2, "pow2", 2, 2, "MicroScopiQ 2-bit: MX-INT-2 inliers, e1m2 outliers"
        ),
        WeightFormat(
            "ms4", 4, 4, "pow2", 4, 4, "MicroScopiQ 4-bit: MX-INT-4 inliers, e3m4 outliers"
        ),
        WeightFormat(
            "fineq",
            5,
            3,
            "fp16",
            0,
            0,
            "FineQ: 24 weights of 2 or 3 bits in 7 bytes, fp16 scale per 128 inputs",
            cluster=CLUSTER,
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
    """

    name: str
    bits: int
    description: str

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

OUTLIER_EXPONENT = {
    # bits: (level-1 bits, microexponent bits) of the MXScale byte (MicroScopiQ A1)
    2: (7, 1),
    4: (5, 3),
}


def outlier_exponent_range(bits: int) -> tuple[int, int]:
    """Return the smallest and largest ``E - Isf`` that the MXScale byte of a format holds.

    The level-1 exponent is signed, the microexponent is not; the byte holds their sum.
    """
    level1, micro = OUTLIER_EXPONENT[bits]
    return -(1 << (level1 - 1)), (1 << (level1 - 1)) - 1 + (1 << micro) - 1
