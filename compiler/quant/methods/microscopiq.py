"""MicroScopiQ (ISCA 2025), data-free: outliers kept at twice the bits, least inliers pruned.

Follows A1, A2 and A7 of the paper notes: blocks along output channels inside one input channel,
3-sigma outliers, power-of-two inlier scales, one exponent per micro-block of outliers. Choices
where the paper is silent: the inlier scale minimises the squared error; an outlier that its
micro-block's exponent would push further off than clamping as an inlier stays an inlier.
"""

import numpy as np

from ....target.formats import (
    GROUP_SIZE,
    MACRO_BLOCK,
    MAX_OUTLIERS,
    MICRO_BLOCK,
    WEIGHT_FORMATS,
    WeightFormat,
    outlier_exponent_range,
)
from ....target.packing import QuantizedWeight, base_exponents, blocks, integers
from ....target.routing import passes
from ..base import method
from ..lower_slots import choose_lower_slots

SIGMAS = 3.0
SCALE_CANDIDATES = 3
"""Powers of two tried per inlier scale, from the one that clips nothing downwards."""
MAX_SHIFT = 20
"""Largest shift of a weight over its panel's base exponent; the machine allows 24, and the less a
panel spreads, the further its sums stay from 32 bits."""
ISF_MIN, ISF_MAX = -100, 100


@method("microscopiq", formats=("ms2", "ms4"))
def microscopiq(weight: np.ndarray, format_name: str) -> tuple[QuantizedWeight, dict[str, int]]:
    """Quantize ``(out, in)`` float32 to a MicroScopiQ format.

    Returns
    -------
    weight : QuantizedWeight
    counts : dict of str to int
        ``outliers`` kept, ``flagged`` micro-blocks, ``overflow`` (beyond 4 in a
        micro-block, or without a partner in a narrow one),
        ``demoted`` (closer to a clamped inlier), ``pruned`` slots, ``second_passes`` (micro-blocks
        that ReCoN can't route in one), ``aligned`` scales raised so that 32-bit partial sums
        can't overflow.
    """
    row = WEIGHT_FORMATS[format_name]
    out, inputs = weight.shape
    column_blocks = blocks(out, MACRO_BLOCK)
    # fp64: squares of fp32 weights may leave the range of fp32.
    padded = np.full((column_blocks * MACRO_BLOCK, inputs), np.nan, np.float64)
    padded[:out] = weight
    macro = padded.reshape(column_blocks, MACRO_BLOCK, inputs)
    outlier = _three_sigma(macro)
    overflow = _limit_per_micro_block(macro, outlier)
    isf = _inlier_scale(macro, outlier, row)
    counts = {"overflow": overflow, "demoted": _demote(macro, outlier, isf, row)}
    floor = np.full_like(isf, ISF_MIN)
    while True:
        raised = np.maximum(isf, floor)
        result = _encode(macro, outlier, raised, row, out)
        too_wide = _panels_too_wide(result)
        if not too_wide.any():
            break
        step = np.repeat(too_wide, GROUP_SIZE, axis=1)[:, :inputs]
        base = np.repeat(base_exponents(result), GROUP_SIZE, axis=1)[:, :inputs]
        floor = np.where(step, base + 1, floor)
    flagged = result.relative_exponent >= 0
    counts |= {
        "outliers": int(outlier.sum()),
        "flagged": int(flagged.sum()),
        "pruned": int((result.pairs[..., 0] >= 0).sum()),
        "second_passes": int((passes(result.pairs[flagged]) > 1).sum()),
        "aligned": int((raised > isf).sum()),
    }
    return result, counts


def _three_sigma(macro: np.ndarray) -> np.ndarray:
    """Return the outlier mask ``(column_blocks, 128, in)``: |w - mean| > 3 std of its block."""
    valid = ~np.isnan(macro)
    count = valid.sum(axis=1, keepdims=True)
    mean = np.where(valid, macro, 0).sum(axis=1, keepdims=True) / count
    centered = np.where(valid, macro - mean, 0)
    std = np.sqrt((centered**2).sum(axis=1, keepdims=True) / count)
    return valid & (np.abs(centered) > SIGMAS * std)


def _limit_per_micro_block(macro: np.ndarray, outlier: np.ndarray) -> int:
    """Keep the 4 largest outliers of a micro-block, fewer where padding leaves no partner."""
    shape = (*macro.shape[:1], -1, MICRO_BLOCK, macro.shape[2])
    mask = outlier.reshape(shape)
    valid = (~np.isnan(macro)).reshape(shape).sum(axis=2)
    magnitude = np.where(mask, np.abs(macro.reshape(shape)), -1)
    rank = np.argsort(np.argsort(-magnitude, axis=2, kind="stable"), axis=2, kind="stable")
    kept = mask & (rank < np.minimum(MAX_OUTLIERS, valid // 2)[:, :, None])
    dropped = int((mask & ~kept).sum())
    mask[:] = kept
    return dropped


def _inlier_scale(macro: np.ndarray, outlier: np.ndarray, row: WeightFormat) -> np.ndarray:
    """Return int ``(column_blocks, in)``: the power of two of least squared error."""
    inlier = np.where(outlier | np.isnan(macro), 0, macro)
    largest = np.abs(inlier).max(axis=1)
    safe = np.where(largest > 0, largest, 1)
    top = np.ceil(np.log2(safe / row.q_max)).astype(np.int64)
    best, best_error = top.copy(), np.full(top.shape, np.inf)
    for lower in range(SCALE_CANDIDATES):
        scale = np.exp2((top - lower).astype(np.float32))[:, None, :]
        q = np.clip(np.rint(inlier / scale), -row.q_max, row.q_max)
        error = ((q * scale - inlier) ** 2).sum(axis=1)
        better = error < best_error
        best, best_error = np.where(better, top - lower, best), np.where(better, error, best_error)
    # A row without inliers has no scale of its own: it must not widen its panel's spread.
    best = np.where(largest > 0, best, best.max(initial=ISF_MIN, where=largest > 0))
    return np.clip(best, ISF_MIN, ISF_MAX)


def _exponents(macro: np.ndarray, outlier: np.ndarray) -> np.ndarray:
    """Return int ``(column_blocks, 16, 1, in)``: floor(log2 max|outlier|) per micro-block."""
    shape = (macro.shape[0], -1, MICRO_BLOCK, macro.shape[2])
    magnitude = np.where(outlier, np.abs(macro), 0).reshape(shape).max(axis=2, keepdims=True)
    return np.frexp(magnitude)[1] - 1


def _mantissa(macro, outlier, exponent, row) -> np.ndarray:
    """Return the mantissa codes of outliers; those below 2^E saturate up to it."""
    shape = (macro.shape[0], -1, MICRO_BLOCK, macro.shape[2])
    relative = np.abs(np.where(outlier, macro, 0)).reshape(shape) / np.exp2(
        exponent.astype(np.float32)
    )
    steps = 1 << row.mantissa_bits
    return np.clip(np.rint((relative - 1) * steps), 0, steps - 1).astype(np.int64)


def _demote(macro, outlier, isf, row) -> int:
    """Turn outliers back into inliers where clamping costs less than the shared exponent."""
    exponent = _exponents(macro, outlier)
    mantissa = _mantissa(macro, outlier, exponent, row)
    value = np.exp2(exponent.astype(np.float32)) * (1 + mantissa / (1 << row.mantissa_bits))
    magnitude = np.abs(np.where(outlier, macro, 0))
    as_outlier = np.abs(value.reshape(macro.shape) - magnitude)
    largest = row.q_max * np.exp2(isf.astype(np.float32))[:, None, :]
    as_inlier = np.abs(np.minimum(magnitude, largest) - magnitude)
    low, high = outlier_exponent_range(row.bits)
    relative = exponent - isf[:, None, None, :]
    unfit = ((relative < 0) | (relative > high)).repeat(MICRO_BLOCK, axis=2).reshape(macro.shape)
    demoted = outlier & ((as_inlier <= as_outlier) | unfit)
    outlier &= ~demoted
    return int(demoted.sum())


def _encode(macro, outlier, isf, row, out) -> QuantizedWeight:
    """Return the weight for given outliers and scales."""
    column_blocks, _, inputs = macro.shape
    outlier = outlier & _still_fits(macro, outlier, isf, row)
    scale = np.exp2(isf.astype(np.float32))[:, None, :]
    q = np.rint(np.where(np.isnan(macro) | outlier, 0, macro) / scale)
    q = np.clip(q, -row.q_max, row.q_max).astype(np.int64)
    slots = np.abs(q) | (q < 0).astype(np.int64) << (row.bits - 1)
    exponent = _exponents(macro, outlier)
    mantissa = _mantissa(macro, outlier, exponent, row)
    shape = (column_blocks * MACRO_BLOCK // MICRO_BLOCK, MICRO_BLOCK, inputs)
    slots, mask = slots.reshape(shape), outlier.reshape(shape)
    mantissa, values = mantissa.reshape(shape), macro.reshape(shape)
    micro, k = np.nonzero(mask.any(axis=1))
    # All slots of a micro-block have one input channel, so A2's w^2 / Hinv is w^2.
    block = values[micro, :, k]
    pairs = np.full((shape[0], inputs, MAX_OUTLIERS, 2), -1, np.int8)
    pairs[micro, k] = choose_lower_slots(
        mask[micro, :, k], np.where(np.isnan(block), np.inf, block**2)
    )
    half = row.mantissa_bits // 2
    for upper, lower in pairs[micro, k].transpose(1, 2, 0):
        hit = upper >= 0
        m, kk, upper, lower = micro[hit], k[hit], upper[hit], lower[hit]
        sign = (values[m, upper, kk] < 0).astype(np.int64) << (row.bits - 1)
        code = mantissa[m, upper, kk]
        slots[m, upper, kk] = sign | code >> half
        slots[m, lower, kk] = sign | code & ((1 << half) - 1)
    relative = exponent.reshape(shape[0], inputs) - np.repeat(isf, 16, axis=0)
    relative = np.where(mask.any(axis=1), relative, -1).astype(np.int16)
    used = blocks(out, MICRO_BLOCK)
    weight = QuantizedWeight(
        row.name,
        slots.reshape(-1, inputs)[:out].astype(np.uint8),
        isf=isf.astype(np.int16),
        relative_exponent=relative[:used],
        pairs=pairs[:used],
    )
    return weight


def _still_fits(macro, outlier, isf, row) -> np.ndarray:
    """Return which outliers still lie above an inlier scale that was raised for alignment."""
    relative = _exponents(macro, outlier) - isf[:, None, None, :]
    return (relative >= 0).repeat(MICRO_BLOCK, axis=2).reshape(macro.shape)


def _panels_too_wide(weight: QuantizedWeight) -> np.ndarray:
    """Return bool ``(column_blocks, groups)``: panels whose sums could leave 32 bits."""
    out, inputs = weight.slots.shape
    starts = np.arange(0, inputs, GROUP_SIZE)
    relative = weight.relative_exponent.astype(np.int64)
    base = np.repeat(base_exponents(weight), GROUP_SIZE, axis=1)[:, :inputs]
    shift = (weight.isf - base).astype(np.int64)
    per_micro = np.repeat(shift, MACRO_BLOCK // MICRO_BLOCK, axis=0)[: len(relative)]
    reach = np.maximum(np.where(relative >= 0, relative + per_micro, 0), per_micro)
    columns = np.arange(0, len(relative), MACRO_BLOCK // MICRO_BLOCK)
    reach = np.maximum.reduceat(np.maximum.reduceat(reach, columns, axis=0), starts, axis=1)
    wide = reach > MAX_SHIFT
    if wide.any():
        return wide
    total = np.add.reduceat(np.abs(integers(weight)[0]).astype(np.int64), starts, axis=1)
    worst = np.maximum.reduceat(total, np.arange(0, out, MACRO_BLOCK), axis=0)
    return worst * 127 > np.iinfo(np.int32).max
