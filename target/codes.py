"""What the codes of a weight mean: integers, by a rule or by a table.

An element's value is its integer times a power of two that the format knows, so that PEs multiply
integers whatever the codes are: a minifloat's values are whole multiples of its smallest one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

LARGEST_INTEGER = 127
"""Of a table: a PE multiplies 8 bits, and codes are symmetric."""
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


class Codes(Enum):
    """How the weights of a format are coded; each member gives the integers of its codes."""

    TWOS_COMPLEMENT = auto()
    SIGN_MAGNITUDE = auto()
    CLUSTERS = auto()
    """Sign and magnitude of several widths, three inputs in 6 bits (`target.clusters`)."""
    VICTIM_PAIRS = auto()
    """Two's complement, or an outlier beside a victim: two inputs tell (`target.victims`)."""
    TABLE = auto()
    """The format's own integer for each code, which the array's loader looks up."""


@dataclass(frozen=True)
class Table:
    """A codebook: the integer of each code, and what an integer of 1 stands for.

    Attributes
    ----------
    integers : tuple of int
        Of the codes 0, 1, ..
    fraction_bits : int
        An element is its integer times ``2^-fraction_bits``.
    """

    integers: tuple[int, ...]
    fraction_bits: int = 0


def minifloat(exponent_bits: int, mantissa_bits: int) -> Table:
    """Return the table of ExMy: sign on top, bias ``2^(x-1) - 1``, subnormals, no Inf or NaN.

    E2M1, E2M3 and the like are those of OCP MX v1.0; a format without mantissa has 0 and powers
    of two.
    """
    bias = (1 << (exponent_bits - 1)) - 1
    magnitudes = []
    for code in range(1 << (exponent_bits + mantissa_bits)):
        exponent, mantissa = divmod(code, 1 << mantissa_bits)
        hidden = 1 << mantissa_bits if exponent else 0
        magnitudes.append((hidden + mantissa) << max(exponent - 1, 0))
    return _signed(tuple(magnitudes), bias + mantissa_bits - 1)


def scaled(values: tuple[float, ...]) -> Table:
    """Return the table of values at most 1: 127ths, the nearest ones."""
    return Table(tuple(round(value * LARGEST_INTEGER) for value in values))


NORMAL_FLOAT = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
"""Quantiles of a normal distribution, 0 among them, over the largest (QLoRA, arXiv 2305.14314)."""


def _signed(magnitudes: tuple[int, ...], fraction_bits: int = 0) -> Table:
    return Table((*magnitudes, *(-m for m in magnitudes)), fraction_bits)


APOT4 = _signed((0, 1, 2, 3, 4, 6, 8, 10))
"""Sums of one of 0, 8, 4, 1 and one of 0, 2: additive powers of two (APoT, arXiv 1909.13144) of
three bits and a sign, in order of magnitude."""


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
"""The integers of the codes 0, 1, .. of a width, where a rule gives them; of pairs those beside no
victim."""
