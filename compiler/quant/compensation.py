"""Rounding whose errors later input channels make good: GPTQ's sweep, damped and refined.

The error of a layer's outputs is ``trace(E H E^T)`` with ``E = W - Q`` and ``H = X^T X``. Rounding
channel after channel, each to what the errors before it call for, is GPTQ (arXiv 2210.17323) and
MicroScopiQ's row-block compensation; written with ``H = U D U^T``, U unit upper triangular
(LDLQ, QuIP, arXiv 2307.13304), it needs no inverse: channel k is rounded to
``w_k + sum_j<k e_j U_jk`` and costs ``D_k`` times its squared rounding error.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # brings its parts when they are used: the command line reads recipes often

from .grids import Grid

BLOCK = 128
"""Input channels after which the rest of the matrix is compensated: the paper's row-block."""
PART = 16
"""Input channels of a block whose scales and outliers are chosen together, from what the errors of
all before them left. With those of a whole block, 2-bit layers lose a quarter more: its last
channels aren't what they were when their scales were chosen."""


@dataclass(frozen=True)
class Order:
    """Input channels in the order of rounding, and the damped factor of their Hessian.

    Attributes
    ----------
    channels : numpy.ndarray
        int ``(in,)``.
    cholesky : numpy.ndarray or None
        float32 ``(in, in)``, columns contiguous: the upper triangular C of ``C^T C``, the Hessian
        in the reverse of that order; None for no compensation.
    """

    channels: np.ndarray
    cholesky: np.ndarray | None

    @property
    def factor(self) -> np.ndarray | None:
        """The upper triangular V with ``H = V V^T`` in that order: ``U = V / diag(V)``."""
        return None if self.cholesky is None else self.cholesky.T[::-1, ::-1]

    def solved(self, rows: np.ndarray) -> np.ndarray:
        """Return ``V^-1 rows`` for ``(in, columns)``, without a copy of V."""
        assert self.cholesky is not None
        return scipy.linalg.solve_triangular(
            self.cholesky, rows[::-1], trans="T", check_finite=False
        )[::-1]

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
    factor, failed = scipy.linalg.lapack.spotrf(matrix.T, lower=0, clean=1, overwrite_a=1)
    if failed:
        raise TooLittleDamping(damping)
    return Order(channels, factor)


def sweep(weights: np.ndarray, order: Order, grid: Grid) -> np.ndarray:
    """Round weights ``(in, out)`` to a grid in an order; return their values ``(in, out)``."""
    channels, factor = order.channels, order.unit()
    values = np.empty_like(weights)
    error = np.zeros_like(weights)  # in the order of rounding
    for start in range(0, len(channels), BLOCK):
        block = channels[start : start + BLOCK]
        target = weights[block]
        if factor is None:
            grid.prepare(block, target)
            values[block] = grid.quantize(0, target)
            continue
        end = start + len(block)
        if start:
            target += factor[:start, start:end].T @ error[:start]
        inner = factor[start:end, start:end]
        values[block] = _round_block(block, weights[block], target, inner, grid, error[start:end])
    return values


def _round_block(block, original, target, factor, grid: Grid, error) -> np.ndarray:
    """Round the channels of a block one by one; fills their errors and returns their values."""
    values = np.empty_like(target)
    for first in range(0, len(target), PART):
        last = min(first + PART, len(target))
        if first:
            target[first:last] += factor[:first, first:last].T @ error[:first]
        grid.prepare(block[first:last], target[first:last])
        for k in range(first, last):
            values[k] = grid.quantize(k - first, target[k : k + 1])[0]
            np.subtract(original[k], values[k], out=error[k])
            target[k + 1 : last] += factor[k, k + 1 : last, None] * error[k]
    return values


def refine(weights: np.ndarray, values: np.ndarray, hessian: np.ndarray, damping: float,
           grid: Grid, keep: bool) -> tuple[np.ndarray, float]:  # fmt: skip
    """Round every channel once more to what the errors of ALL others call for.

    A pass of coordinate descent on ``trace(E (H + damping) E^T)``: the sweep could only look at
    the channels before it.

    Parameters
    ----------
    keep : bool
        Leave scales and outliers as they are: then nothing gets worse. Choosing them anew, from
        what a block of channels is to become, gets out of where that ends.

    Returns
    -------
    values : numpy.ndarray
        float32 ``(in, out)``.
    gain : float
        Part of the error that went, about: 0.5 is half of it.
    """
    power = np.diagonal(hessian)
    added = np.float32(damping * float(power.mean(dtype=np.float64)))
    channels = np.argsort(-power, kind="stable")
    error, values = weights - values, values.copy()
    level = gain = 0.0
    for start in range(0, len(channels), BLOCK):
        block = channels[start : start + BLOCK]
        pull = hessian[block] @ error
        pull += added * error[block]
        inner = hessian[np.ix_(block, block)]
        inner[np.diag_indices_from(inner)] += added
        level += _product(pull, error[block])
        before = values[block]
        values[block] = _refine_block(block, before, pull, inner, grid, keep)
        change = before - values[block]
        gain -= _product(2 * pull + np.diagonal(inner)[:, None] * change, change)
        error[block] += change
    return values, gain / level if level > 0 else 0.0


def _refine_block(block, before, pull, inner, grid: Grid, keep: bool) -> np.ndarray:
    """Round the channels of a block one by one; returns their values, and lets `pull` follow."""
    values, change = np.empty_like(before), np.empty_like(before)
    scale = 1 / np.maximum(np.diagonal(inner), np.finfo(np.float32).tiny)[:, None]
    for first in range(0, len(block), PART):
        part = slice(first, min(first + PART, len(block)))
        if first:
            pull[part] += inner[part, :first] @ change[:first]
        if keep:
            grid.keep(block[part])
        else:
            grid.prepare(block[part], before[part] + pull[part] * scale[part])
        for k in range(first, part.stop):
            target = before[k] + pull[k] * scale[k]
            values[k] = grid.quantize(k - first, target[None])[0]
            np.subtract(before[k], values[k], out=change[k])
            pull[k + 1 : part.stop] += inner[k + 1 : part.stop, k, None] * change[k]
    return values


def _product(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sum of products of float32 ``(rows, columns)``, rows added up in float64."""
    return float(np.einsum("ij,ij->i", a, b).sum(dtype=np.float64))
