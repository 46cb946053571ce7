"""Scales of weights: what shares one, how it is stored, and what the stored bytes mean.

Scales of columns lie behind a panel's slots, one for each output channel. E4M3 has a factor in
front of them, one fp32 number that all panels of a tensor repeat (NVFP4's second level).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

MACRO_BLOCK = 128
"""Consecutive output channels that share one inlier scale (B_M, MicroScopiQ A1)."""
EXPONENT_MIN, EXPONENT_MAX = -126, 127
"""Range of a power-of-two scale: the exponents of normal fp32 numbers."""
E8M0_BIAS = 127
E4M3_MAX, E4M3_LAST = 448.0, 126
"""The largest value, and its code: the next one is NaN, and scales have no sign."""


class ScaleKind(Enum):
    """What shares a scale, as the docs say it."""

    COLUMN_FP16 = "fp16 per output channel and {group} input channels"
    ROW_POW2 = f"power of two per input channel and {MACRO_BLOCK} output channels"
    COLUMN_E8M0 = "power of two (E8M0) per output channel and {group} input channels"
    COLUMN_E4M3 = "E4M3 per output channel and {group} input channels, and an fp32 factor of all"


@dataclass(frozen=True)
class ColumnScale:
    """How the scales of columns are stored.

    Attributes
    ----------
    dtype : numpy.dtype
        Of one, as a panel has it.
    factor_bytes : int
        Of what lies in front of a panel's scales.
    allowed : str
        What a machine takes, for messages.
    encode : callable
        float32 to the nearest that can be stored, none of them 0.
    stored : callable
        Back to float32, exactly; NaN for what no machine takes.
    """

    dtype: np.dtype
    factor_bytes: int
    allowed: str
    encode: Callable[[np.ndarray], np.ndarray]
    stored: Callable[[np.ndarray], np.ndarray]

    def least(self, fraction_bits: int) -> np.generic:
        """Return the least scale that a machine takes: 0 where it can be stored."""
        if self.stored is _from_e8m0:
            return self.dtype.type(E8M0_BIAS + EXPONENT_MIN + fraction_bits)
        return self.dtype.type(0)

    def decode(self, stored: np.ndarray, fraction_bits: int) -> np.ndarray:
        """Return float32: what an integer of 1 is, of elements with so many fraction bits.

        NaN for what no machine takes: bytes that mean nothing, and powers below the normal ones.
        """
        scale = self.stored(stored) * np.float32(2.0**-fraction_bits)
        if self.stored is _from_e8m0:
            return np.where(scale < np.finfo(np.float32).tiny, np.float32(np.nan), scale)
        return scale


def _to_fp16(scale: np.ndarray) -> np.ndarray:
    # fp16 has a floor: a scale that rounded to zero would divide by zero.
    tiny, huge = np.finfo(np.float16).smallest_subnormal, np.finfo(np.float16).max
    return np.clip(scale, np.float32(tiny), huge).astype(np.float16)


def _from_fp16(stored: np.ndarray) -> np.ndarray:
    return stored.astype(np.float32)


def _to_e8m0(scale: np.ndarray) -> np.ndarray:
    """Return the power of two at or below each scale."""
    exponent = np.frexp(np.asarray(scale, np.float32))[1] - 1
    exponent = np.where(scale > 0, exponent, EXPONENT_MIN)
    return (np.clip(exponent, EXPONENT_MIN, EXPONENT_MAX) + E8M0_BIAS).astype(np.uint8)


def _from_e8m0(stored: np.ndarray) -> np.ndarray:
    exponent = stored.astype(np.int32) - E8M0_BIAS
    good = (exponent >= EXPONENT_MIN) & (exponent <= EXPONENT_MAX)
    powers = np.ldexp(np.float32(1), np.clip(exponent, EXPONENT_MIN, EXPONENT_MAX))
    return np.where(good, powers, np.float32(np.nan))


def _e4m3_values() -> np.ndarray:
    """Return the values of the codes 0 to 126, which rise."""
    exponent, mantissa = np.divmod(np.arange(E4M3_LAST + 1), 8)
    normal = np.ldexp((8 + mantissa).astype(np.float32), exponent - 10)
    return np.where(exponent > 0, normal, np.ldexp(mantissa.astype(np.float32), -9))


def nearest_places(values: np.ndarray, upper_wins: np.ndarray) -> np.ndarray:
    """Return the largest float32 that goes to each but the last of rising values.

    Parameters
    ----------
    upper_wins : numpy.ndarray
        bool, for each but the first value: what lies in the middle goes up to it.
    """
    middle = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
    return np.where(upper_wins, np.nextafter(middle, np.float32(-np.inf)), middle)


_E4M3 = _e4m3_values()
_E4M3_ENDS = nearest_places(_E4M3, np.arange(1, E4M3_LAST + 1) % 2 == 0)


def _to_e4m3(scale: np.ndarray) -> np.ndarray:
    """Return the nearest codes, half to even, at least that of 2^-9."""
    codes = np.searchsorted(_E4M3_ENDS, np.asarray(scale, np.float32))
    return np.maximum(codes, 1).astype(np.uint8)


def _from_e4m3(stored: np.ndarray) -> np.ndarray:
    return np.append(_E4M3, np.full(256 - len(_E4M3), np.nan, np.float32))[stored]


COLUMN_SCALES = {
    ScaleKind.COLUMN_FP16: ColumnScale(np.dtype("<f2"), 0, "numbers", _to_fp16, _from_fp16),
    ScaleKind.COLUMN_E8M0: ColumnScale(
        np.dtype("u1"), 0, "bytes whose power gives normal numbers", _to_e8m0, _from_e8m0
    ),
    ScaleKind.COLUMN_E4M3: ColumnScale(np.dtype("u1"), 4, "0 to 126", _to_e4m3, _from_e4m3),
}
"""The kinds of which each output channel has its own."""
