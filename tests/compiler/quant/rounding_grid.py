"""A grid that a page of NumPy can follow, for tests of what walks over it."""

import numpy as np

STEPS = 3
"""Codes to each side of 0 that the largest weight of a channel asks for."""


class RoundingGrid:
    """Multiples of a step per input channel, chosen from the weights that `prepare` is given.

    Attributes
    ----------
    prepared, kept : list of list of int
        Channels of each call.
    refusals : int
        How often `finish` says that the sums don't fit; steps double each time.
    """

    def __init__(self, weights: np.ndarray, refusals: int = 0):
        self.weights, self.refusals, self.coarser = weights.copy(), refusals, 1.0
        self.prepared: list[list[int]] = []
        self.kept: list[list[int]] = []
        self.steps: dict[int, float] = {}
        self.current: list[int] = []

    def prepare(self, channels, weights):
        assert len(channels) == len(weights)
        self.current = [int(channel) for channel in channels]
        self.prepared.append(self.current)
        for channel, row in zip(self.current, weights, strict=True):
            self.steps[channel] = step_of(row) * self.coarser

    def keep(self, channels):
        self.current = [int(channel) for channel in channels]
        self.kept.append(self.current)

    def quantize(self, start, targets):
        channels = self.current[start : start + len(targets)]
        assert start >= 0 and len(channels) == len(targets) > 0
        return np.stack(
            [nearest(row, self.steps[c]) for c, row in zip(channels, targets, strict=True)]
        )

    def finish(self, values):
        if self.refusals:
            self.refusals -= 1
            self.coarser *= 2
            return None
        return values.copy(), {"saturated": 0}


def step_of(row: np.ndarray) -> float:
    """Return a power of two, so that float32 and float64 agree about it and its multiples."""
    return float(2.0 ** np.round(np.log2(np.abs(row).max() / STEPS + 1e-30)))


def nearest(row: np.ndarray, step: float) -> np.ndarray:
    return (np.rint(row / step) * step).astype(np.float32)
