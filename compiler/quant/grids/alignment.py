"""Inlier scales that are close enough for the 32-bit sums of a panel.

A panel's weights are aligned to the smallest of its scales: an input channel with a larger one
shifts its products up. Raising the smallest scales keeps all sums of a group in 32 bits.
"""

import numpy as np

from ....target.formats import MACRO_BLOCK, MICRO_BLOCK
from ....target.weight import QuantizedWeight, base_exponents, integers

MAX_SHIFT = 20
"""Largest shift of a weight over its panel's base exponent; the machine allows 24, and the less a
panel spreads, the further its sums stay from 32 bits."""
LARGEST_ACTIVATION = 127
SUM_LIMIT = np.iinfo(np.int32).max


def raised_floor(weight: QuantizedWeight, floor: np.ndarray) -> np.ndarray | None:
    """Return larger least scales ``(column_blocks, in)`` if a panel's sums could leave 32 bits.

    Returns
    -------
    numpy.ndarray or None
        None when all panels fit.
    """
    inputs = weight.slots.shape[1]
    too_wide = panels_too_wide(weight)
    if not too_wide.any():
        return None
    step = np.repeat(too_wide, weight.row.group, axis=1)[:, :inputs]
    base = np.repeat(base_exponents(weight), weight.row.group, axis=1)[:, :inputs]
    return np.where(step, base + 1, floor)


def panels_too_wide(weight: QuantizedWeight) -> np.ndarray:
    """Return bool ``(column_blocks, groups)``: panels whose sums could leave 32 bits."""
    assert weight.relative_exponent is not None and weight.isf is not None
    out, inputs = weight.slots.shape
    starts = np.arange(0, inputs, weight.row.group)
    columns = np.arange(0, len(weight.relative_exponent), MACRO_BLOCK // MICRO_BLOCK)
    relative = np.maximum.reduceat(weight.relative_exponent.astype(np.int64), columns, axis=0)
    base = np.repeat(base_exponents(weight), weight.row.group, axis=1)[:, :inputs]
    shift = (weight.isf - base).astype(np.int64)
    reach = np.maximum(np.where(relative >= 0, relative + shift, 0), shift)
    wide = np.maximum.reduceat(reach, starts, axis=1) > MAX_SHIFT
    if wide.any():
        return wide
    row = weight.row
    inlier = row.q_max << row.guard_bits
    outlier = (2 << row.mantissa_bits) - 1
    largest = np.maximum(inlier << shift, np.where(relative >= 0, outlier << reach, 0))
    bound = np.add.reduceat(largest, starts, axis=1)
    if (bound * LARGEST_ACTIVATION <= SUM_LIMIT).all():
        return wide
    # The bound takes the largest weight for all of a channel's; the sums themselves are smaller.
    total = np.add.reduceat(np.abs(integers(weight)[0]).astype(np.int64), starts, axis=1)
    worst = np.maximum.reduceat(total, np.arange(0, out, MACRO_BLOCK), axis=0)
    return worst * LARGEST_ACTIVATION > SUM_LIMIT
