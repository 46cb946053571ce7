"""FineQ (DATE 2025) after what is public of it: 3 bits for the outliers of small clusters.

A cluster of three inputs has 6 bits: three weights of 2 bits, or two of 3 bits and a zero. Which
one, the pair of neighbouring clusters that shares a pattern decides by least squared error. Levels
of 2 bits are -1, 0 and 1 steps, of 3 bits -3 to 3 of the same step: 3 bits reach further. The
paper's rule for the step isn't public, that for outliers only second-hand: the candidates for the
step are ours, and the rule is an option.
"""

from dataclasses import dataclass

import numpy as np

from ....target.clusters import pattern_count
from ....target.errors import ConfigError, unknown_name
from ....target.formats import CLUSTER, CLUSTER_PAIR, WEIGHT_FORMATS
from ....target.weight import QuantizedWeight, blocks
from ..base import method
from ..statistics import Statistics

STEPS = (1.0, 0.85, 0.7, 1.5, 3.0)
"""Steps tried per output channel and group, over the largest weight by 3. Below 1 the largest is
clipped and all others gain, 1.1 dB on heavy-tailed weights (five more candidates: 0.1 dB). Above 1
it is level 2 or 1, best for few or equal weights: 0.7 dB on 3x3 kernels of one channel."""
NARROW = 1
"""Largest magnitude of 2 bits."""
ROWS_AT_ONCE = 256
"""Output channels that are quantized together: some twenty arrays of their size live at a time."""
RULES = ("error", "threshold4")
THRESHOLD = 4
"""Largest over smallest magnitude of a cluster, beyond which it has an outlier."""


@dataclass(frozen=True)
class FineqOptions:
    """What is public at second hand only.

    Attributes
    ----------
    rule : str
        ``error``: of all four patterns a pair takes the one of least squared error;
        ``threshold4``: a pair where a cluster's largest magnitude is beyond 4 times its smallest
        takes the best of the three with a zero, any other pair 2 bits throughout. A weight of 0
        counts, so that its cluster has an outlier unless all of it is 0.
    """

    rule: str = "error"

    def __post_init__(self):
        if self.rule not in RULES:
            raise ConfigError(unknown_name("rule", str(self.rule), RULES))


@method("fineq", formats=("fineq",), options=FineqOptions)
def fineq(
    weight: np.ndarray,
    format_name: str,
    _: Statistics | None,
    options: FineqOptions,
) -> tuple[QuantizedWeight, dict]:
    """Quantize ``(out, in)`` to clusters of 2 and 3 bits, patterns chosen per pair of clusters.

    Returns
    -------
    weight : QuantizedWeight
    counts : dict of str to int
        ``outlier_clusters`` with two weights of 3 bits, ``zeroed`` weights that aren't zero but
        aren't stored, ``saturated`` weights whose nearest level has more bits than their place.
    """
    row = WEIGHT_FORMATS[format_name]
    out, inputs = weight.shape
    groups, starts = blocks(inputs, row.group), range(0, inputs, row.group)
    slots = np.zeros((out, inputs), np.uint8)
    scale = np.zeros((groups, out), np.float16)
    pattern = np.zeros((out, pattern_count(inputs, row.group)), np.uint8)
    counts = dict.fromkeys(("outlier_clusters", "zeroed", "saturated"), 0)
    for first in range(0, out, ROWS_AT_ONCE):
        rows = np.s_[first : first + ROWS_AT_ONCE]
        for group, start in enumerate(starts):
            part = weight[rows, start : start + row.group].astype(np.float64)
            step, chosen, q = _best_step(part, row.q_max, options.rule)
            at, width = pattern_count(start, row.group), part.shape[1]
            scale[group, rows] = step
            pattern[rows, at : at + chosen.shape[1]] = chosen
            flat = q.reshape(len(q), -1)[:, :width]
            slots[rows, start : start + width] = np.abs(flat) | (flat < 0) << (row.bits - 1)
            for name, count in _count(part, step, chosen, q).items():
                counts[name] += count
    return QuantizedWeight(format_name, slots, scale=scale, pattern=pattern), counts


def _best_step(
    part: np.ndarray, q_max: int, rule: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fp16 steps, patterns and integers of a group of least squared error.

    Returns
    -------
    step : numpy.ndarray
        fp16 ``(rows,)``.
    pattern : numpy.ndarray
        ``(rows, pairs)``.
    q : numpy.ndarray
        int64 ``(rows, pairs, 2, 3)``.
    """
    largest = np.abs(part).max(axis=1)
    outlier = _beyond_threshold(part) if rule == "threshold4" else None
    # fp16 has a floor: a step that rounds to zero would divide by zero.
    tiny, huge = np.finfo(np.float16).smallest_subnormal, np.finfo(np.float16).max
    best: tuple[np.ndarray, ...] = ()
    for factor in STEPS:
        step = np.clip(largest / q_max * factor, float(tiny), float(huge)).astype(np.float16)
        pattern, q, error = _choose(_clusters(part, step), q_max, outlier)
        error = error * np.square(step.astype(np.float64))
        if best:
            better = error < best[3]
            new = (step, pattern, q, error)
            best = tuple(
                np.where(better.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
                for a, b in zip(new, best, strict=True)
            )
        else:
            best = (step, pattern, q, error)
    return best[0], best[1], best[2]


def _clusters(part: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return weights over their step as ``(rows, pairs, 2, 3)``, zeros where a cluster ends."""
    return _paired(part / step.astype(np.float64)[:, None], 0)


def _paired(part: np.ndarray, padding: float) -> np.ndarray:
    """Return ``(rows, inputs)`` as ``(rows, pairs, 2, 3)``, padded behind its end."""
    rows, width = part.shape
    padded = np.full((rows, blocks(width, CLUSTER_PAIR) * CLUSTER_PAIR), padding, part.dtype)
    padded[:, :width] = part
    return padded.reshape(rows, -1, CLUSTER_PAIR // CLUSTER, CLUSTER)


def _beyond_threshold(part: np.ndarray) -> np.ndarray:
    """Return bool ``(rows, pairs)``: where a cluster of the pair has an outlier."""
    magnitude = np.abs(part)
    largest = _paired(magnitude, 0).max(axis=3)
    smallest = _paired(magnitude, np.inf).min(axis=3)
    return (largest > THRESHOLD * smallest).any(axis=2)


def _choose(
    ratio: np.ndarray, q_max: int, outlier: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the best pattern of each pair, its integers, and each row's squared error in steps.

    Where it's known which pairs have an outlier, they alone have patterns with a zero.
    """
    nearest = np.rint(ratio)
    narrow = np.clip(nearest, -NARROW, NARROW)
    wide = np.clip(nearest, -q_max, q_max)
    lost, wide_error = np.square(ratio), np.square(wide - ratio)
    errors = [np.square(narrow - ratio).sum(axis=(2, 3))]
    # From each cluster's error with all three at 3 bits to that with one of them zero.
    both = wide_error.sum(axis=(2, 3))
    for zero in range(CLUSTER):
        errors.append(both + (lost - wide_error)[..., zero].sum(axis=2))
    if outlier is not None:
        errors[0] = np.where(outlier, np.inf, errors[0])
        errors[1:] = [np.where(outlier, error, np.inf) for error in errors[1:]]
    pattern = np.argmin(errors, axis=0)
    q = np.where(pattern[..., None, None] == 0, narrow, wide)
    q = np.where(_unstored(pattern), 0, q).astype(np.int64)
    return pattern, q, np.min(errors, axis=0).sum(axis=1)


def _unstored(pattern: np.ndarray) -> np.ndarray:
    """Return bool ``(rows, pairs, 1, 3)``: the places that a pattern makes zero."""
    return pattern[..., None, None] == np.arange(1, CLUSTER + 1)


def _count(part, step, pattern, q) -> dict[str, int]:
    """Return what the docstring of `fineq` counts, in one group of inputs."""
    ratio = _clusters(part, step)
    nearest, unstored = np.abs(np.rint(ratio)), _unstored(pattern)
    clusters = blocks(part.shape[1], CLUSTER)
    outlier = np.repeat(pattern > 0, CLUSTER_PAIR // CLUSTER, axis=1)[:, :clusters]
    return {
        "outlier_clusters": int(outlier.sum()),
        "zeroed": int((unstored & (ratio != 0)).sum()),
        "saturated": int((~unstored & (nearest > np.abs(q))).sum()),
    }
