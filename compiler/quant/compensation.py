"""Rounding whose errors later input channels make good: GPTQ's sweep, damped and refined.

The error of a layer's outputs is ``trace(E H E^T)`` with ``E = W - Q`` and ``H = X^T X``. Rounding
channel after channel, each to what the errors before it call for, is GPTQ (arXiv 2210.17323) and
MicroScopiQ's row-block compensation; written with ``H = U D U^T``, U unit upper triangular
(LDLQ, QuIP, arXiv 2307.13304), it needs no inverse: channel k is rounded to
``w_k + sum_j<k e_j U_jk`` and costs ``D_k`` times its squared rounding error.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from .grids import Grid

BLOCK = 128
"""Input channels whose scales and outliers are chosen together: the paper's row-block."""
PART = 32
"""Input channels of a block that are compensated one by one before the rest of the block is."""


@dataclass(frozen=True)
class Order:
    """Input channels in the order of rounding, and the damped factor of their Hessian.

    Attributes
    ----------
    channels : numpy.ndarray
        int ``(in,)``.
    factor : numpy.ndarray or None
        float32 ``(in, in)``: in that order, the upper triangular V with ``H = V V^T``, so that
        ``U = V / diag(V)``; None for no compensation.
    """

    channels: np.ndarray
    factor: np.ndarray | None

    def unit(self) -> np.ndarray | None:
        """Return U."""
        if self.factor is None:
            return None
        return np.ascontiguousarray(self.factor / np.diagonal(self.factor))


class TooLittleDamping(Exception):
    """The damped Hessian has no Cholesky factor in float32."""


def ordered(hessian: np.ndarray, damping: float) -> Order:
    """Return channels by falling power with the factor of ``H + damping * mean(diag H) * I``.

    Without a factor if nothing is to be compensated: infinite damping, or all inputs 0. Channels
    of large power come first (GPTQ's act-order): those after them can make good their errors.
    Where the formats scale along output channels, the order of inputs costs nothing.

    Raises
    ------
    TooLittleDamping
    """
    power = np.diagonal(hessian)
    channels = np.argsort(-power, kind="stable")
    mean = float(power.mean(dtype=np.float64))
    if mean == 0 or np.isinf(damping):
        return Order(channels, None)
    # V of H = V V^T is the Cholesky factor of H in reversed order, reversed again.
    backwards = channels[::-1]
    matrix = hessian[np.ix_(backwards, backwards)] / np.float32(mean)
    matrix[np.diag_indices_from(matrix)] += np.float32(damping)
    factor, failed = lapack.spotrf(matrix.T, lower=0, clean=1, overwrite_a=1)
    if failed:
        raise TooLittleDamping(damping)
    return Order(channels, factor.T[::-1, ::-1])


def sweep(weights: np.ndarray, order: Order, grid: Grid) -> np.ndarray:
    """Round weights ``(in, out)`` to a grid in an order; return their values ``(in, out)``."""
    channels, factor = order.channels, order.unit()
    values = np.empty_like(weights)
    error = np.zeros_like(weights) if factor is not None else None  # in the order of rounding
    for start in range(0, len(channels), BLOCK):
        block = channels[start : start + BLOCK]
        target = weights[block]
        if factor is None or error is None:
            grid.prepare(block, target)
            values[block] = grid.quantize(0, target)
            continue
        end = start + len(block)
        if start:
            target += factor[:start, start:end].T @ error[:start]
        grid.prepare(block, target)
        inner = factor[start:end, start:end]
        values[block] = _round_block(weights[block], target, inner, grid, error[start:end])
    return values


def _round_block(original, target, factor, grid: Grid, error) -> np.ndarray:
    """Round the channels of a block one by one; fills their errors and returns their values."""
    values = np.empty_like(target)
    for first in range(0, len(target), PART):
        last = min(first + PART, len(target))
        if first:
            target[first:last] += factor[:first, first:last].T @ error[:first]
        for k in range(first, last):
            values[k] = grid.quantize(k, target[k : k + 1])[0]
            np.subtract(original[k], values[k], out=error[k])
            if k + 1 < last:
                target[k + 1 : last] += factor[k, k + 1 : last, None] * error[k]
    return values


def refine(weights: np.ndarray, values: np.ndarray, hessian: np.ndarray, damping: float,
           grid: Grid) -> np.ndarray:  # fmt: skip
    """Round every channel once more to what the errors of ALL others call for.

    A pass of coordinate descent on ``trace(E (H + damping) E^T)``: the sweep could only look at
    the channels before it. Returns new values ``(in, out)``.
    """
    power = np.diagonal(hessian)
    added = np.float32(damping * float(power.mean(dtype=np.float64)))
    channels = np.argsort(-power, kind="stable")
    error, values = weights - values, values.copy()
    for start in range(0, len(channels), BLOCK):
        block = channels[start : start + BLOCK]
        pull = hessian[block] @ error
        pull += added * error[block]
        inner = hessian[np.ix_(block, block)]
        inner[np.diag_indices_from(inner)] += added
        scale = 1 / np.maximum(np.diagonal(inner), np.finfo(np.float32).tiny)[:, None]
        grid.prepare(block, weights[block] + pull * scale - error[block])
        change = np.zeros_like(pull)
        for first in range(0, len(block), PART):
            last = min(first + PART, len(block))
            if first:
                pull[first:last] += inner[first:last, :first] @ change[:first]
            for k in range(first, last):
                channel = block[k]
                target = weights[channel] + pull[k] * scale[k] - error[channel]
                values[channel] = grid.quantize(k, target[None])[0]
                change[k] = weights[channel] - values[channel] - error[channel]
                pull[k + 1 : last] += inner[k + 1 : last, k, None] * change[k]
        error[block] += change
    return values
