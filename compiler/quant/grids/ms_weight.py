"""From values on MicroScopiQ's grid to slots, scales, exponents and permutation lists."""

from dataclasses import dataclass

import numpy as np

from ....target.formats import MACRO_BLOCK, MICRO_BLOCK, WeightFormat
from ....target.weight import QuantizedWeight, blocks

ISF_MIN = -100
"""Smallest exponent of an inlier scale."""
MICROS = MACRO_BLOCK // MICRO_BLOCK


@dataclass
class Chosen:
    """What the grid chose for every input channel.

    Attributes
    ----------
    isf : numpy.ndarray
        int16 ``(in, macro-blocks)``: exponents of the inliers' steps.
    empty : numpy.ndarray
        bool ``(in, macro-blocks)``: without inliers, so that any step does.
    exponent : numpy.ndarray
        int16 ``(in, micro-blocks)``: what a micro-block's outliers share.
    pairs : numpy.ndarray
        int8 ``(in, micro-blocks, 4, 2)``: Upper and Lower columns, -1 where unused.
    """

    isf: np.ndarray
    empty: np.ndarray
    exponent: np.ndarray
    pairs: np.ndarray


def spread(exponents: np.ndarray, out: int) -> np.ndarray:
    """Return powers of two ``(c, out)`` of exponents ``(c, macro-blocks)``."""
    powers = np.ldexp(np.float32(1), exponents.astype(np.int32))
    return np.repeat(powers, MACRO_BLOCK, axis=1)[:, :out]


def ms_weight(row: WeightFormat, chosen: Chosen, values: np.ndarray) -> QuantizedWeight:
    """Return values ``(in, out)`` as the machine holds them: halves of outliers in their slots."""
    out = values.shape[1]
    bits, half = row.bits, row.mantissa_bits // 2
    isf = _settled_isf(chosen)
    slots = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), MACRO_BLOCK):  # few at a time: they stay in the cache
        part = np.s_[start : start + MACRO_BLOCK]
        with np.errstate(invalid="ignore"):  # outliers can be beyond int8: their slots follow
            codes = (values[part] * spread(-chosen.isf[part], out)).astype(np.int8)
        slots[part] = np.abs(codes) | (codes < 0).astype(np.int8) << (bits - 1)
    k, micro, entry = np.nonzero(chosen.pairs[..., 0] >= 0)
    upper, lower = (micro * MICRO_BLOCK + chosen.pairs[k, micro, entry, i] for i in (0, 1))
    magnitude = np.ldexp(np.abs(values[k, upper]), -chosen.exponent[k, micro].astype(np.int32))
    mantissa = ((magnitude - 1) * (1 << row.mantissa_bits)).astype(np.uint8)
    sign = np.signbit(values[k, upper]).astype(np.uint8) << (bits - 1)
    slots[k, upper] = sign | mantissa >> half
    slots[k, lower] = sign | mantissa & ((1 << half) - 1)
    used = blocks(out, MICRO_BLOCK)
    flagged = (chosen.pairs[..., 0] >= 0).any(axis=2)
    relative = np.where(flagged, chosen.exponent - np.repeat(isf, MICROS, axis=1), -1)
    return QuantizedWeight(
        row.name,
        np.ascontiguousarray(slots.T),
        isf=np.ascontiguousarray(isf.T),
        relative_exponent=np.ascontiguousarray(relative.T[:used].astype(np.int16)),
        pairs=np.ascontiguousarray(chosen.pairs.transpose(1, 0, 2, 3)[:used]),
    )


def _settled_isf(chosen: Chosen) -> np.ndarray:
    """Return the scales; a block of zeros takes its column's largest, to widen no panel."""
    zero = chosen.empty & ~(chosen.pairs[..., 0] >= 0).any(axis=2).reshape(
        *chosen.empty.shape, MICROS
    ).any(axis=2)
    known = np.where(zero, ISF_MIN, chosen.isf)
    largest = known.max(axis=0, initial=ISF_MIN)
    largest = np.where(zero.all(axis=0), 0, largest)
    return np.where(zero, largest, chosen.isf).astype(np.int16)
