"""OliVe (ISCA 2023): an outlier takes the place of its neighbour, which becomes its victim.

Of each pair of inputs either both weights have 4 bits, or one is an outlier in abfloat and the
other is 0. The step of a group is tried at several parts of three standard deviations, as in the
paper, and that of least squared error is taken. The paper has one step per tensor or channel; here
one fits each group of inputs, as in all formats of the machine. Where the authors' code makes an
outlier of what is nearest to an outlier's level, the pair decides here by its error: 0.02 dB more.
"""

from dataclasses import dataclass

import numpy as np

from ....target.formats import BESIDE_VICTIM, VICTIM, WEIGHT_FORMATS
from ....target.weight import QuantizedWeight, blocks
from ..base import method
from ..statistics import Statistics

FACTORS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
"""Parts of three standard deviations that are tried as the largest weight without an outlier; 0 is
the step at which the largest weight is the largest level."""
SIGMAS = 3
LEVELS = np.unique(np.abs(BESIDE_VICTIM))[1:].astype(np.float64)
"""Magnitudes of outliers, ascending."""
ROWS_AT_ONCE = 256
"""Output channels that are quantized together: some ten arrays of their size live at a time."""


@dataclass(frozen=True)
class OliveOptions:
    """Nothing is left to choose."""


@method("olive", formats=("olive4",), options=OliveOptions)
def olive(
    weight: np.ndarray, format_name: str, _: Statistics | None, __: OliveOptions
) -> tuple[QuantizedWeight, dict]:
    """Quantize ``(out, in)`` to 4 bits, outliers in the place of pairs.

    Returns
    -------
    weight : QuantizedWeight
    counts : dict of str to int
        ``outliers``, ``zeroed`` victims that aren't zero, ``saturated`` weights beyond the largest
        level of their kind.
    """
    row = WEIGHT_FORMATS[format_name]
    out, inputs = weight.shape
    slots = np.zeros((out, inputs), np.uint8)
    scale = np.zeros((blocks(inputs, row.group), out), np.float16)
    counts = dict.fromkeys(("outliers", "zeroed", "saturated"), 0)
    for first in range(0, out, ROWS_AT_ONCE):
        rows = np.s_[first : first + ROWS_AT_ONCE]
        for group, start in enumerate(range(0, inputs, row.group)):
            part = weight[rows, start : start + row.group].astype(np.float64)
            width = part.shape[1]
            whole = np.arange(1, width + 1, 2) < width
            step, kind, q = _best_step(_pairs(part), whole, row.q_max)
            scale[group, rows] = step
            slots[rows, start : start + width] = _codes(kind, q).reshape(len(q), -1)[:, :width]
            for name, count in _count(_pairs(part), step, kind, row.q_max).items():
                counts[name] += count
    return QuantizedWeight(format_name, slots, scale=scale), counts


def _pairs(part: np.ndarray) -> np.ndarray:
    """Return ``(rows, inputs)`` as ``(rows, pairs, 2)``, a zero beside the last of an odd count."""
    rows, width = part.shape
    padded = np.zeros((rows, width + width % 2))
    padded[:, :width] = part
    return padded.reshape(rows, -1, 2)


def _best_step(
    pairs: np.ndarray, whole: np.ndarray, q_max: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the step of least squared error of each row's weights ``(rows, pairs, 2)``.

    Parameters
    ----------
    whole : numpy.ndarray
        bool ``(pairs,)``: whether the pair has two weights, one of which can be a victim.

    Returns
    -------
    step : numpy.ndarray
        fp16 ``(rows,)``.
    kind : numpy.ndarray
        int64 ``(rows, pairs)``: 0, both have 4 bits; 1 or 2, the first or second is an outlier.
    q : numpy.ndarray
        int64 ``(rows, pairs, 2)``: integers.
    """
    spread = np.abs(pairs.mean(axis=(1, 2))) + SIGMAS * pairs.std(axis=(1, 2))
    largest = np.abs(pairs).max(axis=(1, 2))
    # fp16 has a floor: a step that rounds to zero would divide by zero.
    tiny, huge = np.finfo(np.float16).smallest_subnormal, np.finfo(np.float16).max
    best: tuple[np.ndarray, ...] = ()
    # The last candidate has no outlier: never worse than INT4.
    for reach in (*(factor * spread for factor in FACTORS), largest):
        # Beyond the largest level of an outlier all would saturate.
        least = largest / LEVELS[-1]
        step = np.clip(np.maximum(reach / q_max, least), float(tiny), float(huge))
        step = step.astype(np.float16)
        kind, q, error = _choose(pairs / step.astype(np.float64)[:, None, None], whole, q_max)
        error = error * np.square(step.astype(np.float64))
        new: tuple[np.ndarray, ...] = (step, kind, q, error)
        if best:
            better = error < best[3]
            new = tuple(
                np.where(better.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
                for a, b in zip(new, best, strict=True)
            )
        best = new
    return best[0], best[1], best[2]


def _choose(
    ratio: np.ndarray, whole: np.ndarray, q_max: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kinds and integers of pairs, and each row's squared error in steps."""
    normal, outlier = np.clip(np.rint(ratio), -q_max, q_max), _outliers(ratio)
    near, far, lost = np.square(normal - ratio), np.square(outlier - ratio), np.square(ratio)
    errors = np.stack([near.sum(axis=2), far[..., 0] + lost[..., 1], far[..., 1] + lost[..., 0]])
    errors[1:, :, ~whole] = np.inf
    kind = np.argmin(errors, axis=0)
    one = kind[..., None] - 1 == np.arange(2)
    q = np.where(kind[..., None] == 0, normal, np.where(one, outlier, 0)).astype(np.int64)
    return kind, q, np.take_along_axis(errors, kind[None], axis=0)[0].sum(axis=1)


def _outliers(ratio: np.ndarray) -> np.ndarray:
    """Return the nearest levels of outliers, the smaller one of two."""
    level = np.searchsorted((LEVELS[1:] + LEVELS[:-1]) / 2, np.abs(ratio))
    return np.where(ratio < 0, -LEVELS[level], LEVELS[level])


def _codes(kind: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return uint8 codes ``(rows, pairs, 2)``."""
    beside = {value: code for code, value in enumerate(BESIDE_VICTIM) if value}
    of_outlier = np.zeros(2 * max(beside) + 1, np.uint8)
    for value, code in beside.items():
        of_outlier[value + max(beside)] = code
    one = kind[..., None] - 1 == np.arange(2)
    return np.where(
        kind[..., None] == 0, q & 15, np.where(one, of_outlier[q + max(beside)], VICTIM)
    ).astype(np.uint8)


def _count(pairs, step, kind, q_max: int) -> dict[str, int]:
    """Return what the docstring of `olive` counts, in one group of inputs."""
    ratio = pairs / step.astype(np.float64)[:, None, None]
    one = kind[..., None] - 1 == np.arange(2)
    victim = (kind > 0)[..., None] & ~one
    normal = (kind == 0)[..., None] & (np.abs(np.rint(ratio)) > q_max)
    return {
        "outliers": int(one.sum()),
        "zeroed": int((victim & (ratio != 0)).sum()),
        "saturated": int(normal.sum() + (one & (np.abs(ratio) > LEVELS[-1])).sum()),
    }
