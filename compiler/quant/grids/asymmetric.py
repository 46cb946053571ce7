"""Integers with a scale and a zero point per output channel and group, for comparison."""

import numpy as np

from ....target.weight import blocks
from ..host_formats import SCALE_BITS, STUDY_FORMATS, StudyWeight
from .clipping import Clip

TINY, HUGE = np.finfo(np.float16).smallest_subnormal, np.finfo(np.float16).max


class AsymmetricGrid:
    """Codes 0 to 2^bits - 1 between the least and the largest original weight of a group, and 0.

    Groups are neighbouring input channels whatever the order of rounding (static groups).
    """

    def __init__(self, format_name: str, weights: np.ndarray, clip: Clip | None = None):
        self.row = STUDY_FORMATS[format_name]
        self.levels = np.float32((1 << self.row.bits) - 1)
        starts = np.arange(0, len(weights), self.row.group)
        self.low = np.minimum(np.minimum.reduceat(weights, starts, axis=0), 0)
        self.high = np.maximum(np.maximum.reduceat(weights, starts, axis=0), 0)
        self.saturated = np.zeros(len(weights), np.int64)
        self.channels = np.arange(0)
        self._narrow(np.float32(1))
        if clip is not None:
            every = np.arange(len(weights))

            def rounded(factor: float) -> np.ndarray:
                self._narrow(np.float32(factor))
                return self._rounded(every, weights)[0]

            self._narrow(clip.narrowed(weights, self.row.group, rounded))

    def _narrow(self, factor: np.ndarray | np.float32) -> None:
        """Choose scales and zero points of ranges times a factor."""
        scale = (self.high - self.low) * factor / self.levels
        self.scale = np.clip(scale, np.float32(TINY), HUGE).astype(np.float16).astype(np.float32)
        self.zero = np.rint(-self.low * factor / self.scale)

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        self.keep(channels)

    def keep(self, channels: np.ndarray) -> None:
        self.channels = channels

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        channels = self.channels[start : start + len(targets)]
        values, clipped = self._rounded(channels, targets)
        self.saturated[channels] = clipped.sum(axis=1)
        return values

    def _rounded(self, channels: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values, and where the nearest code isn't there."""
        group = channels // self.row.group
        scale, zero = self.scale[group], self.zero[group]
        codes = np.rint(targets / scale) + zero
        kept = np.clip(codes, 0, self.levels)
        return (kept - zero) * scale, kept != codes

    def finish(self, values: np.ndarray) -> tuple[StudyWeight, dict[str, int]]:
        inputs = len(values)
        overhead = 2 * SCALE_BITS * blocks(inputs, self.row.group) / inputs
        bits = self.row.bits + overhead
        weight = StudyWeight(self.row.name, np.ascontiguousarray(values.T), bits)
        return weight, {"saturated": int(self.saturated.sum())}
