"""Integers with a scale and a zero point per output channel and group, for comparison."""

import numpy as np

from ....target.packing import blocks
from ..study import SCALE_BITS, STUDY_FORMATS, StudyWeight


class AsymmetricGrid:
    """Codes 0 to 2^bits - 1 between the least and the largest original weight of a group, and 0.

    Groups are neighbouring input channels whatever the order of rounding (static groups).
    """

    def __init__(self, format_name: str, weights: np.ndarray):
        self.row = STUDY_FORMATS[format_name]
        starts = np.arange(0, len(weights), self.row.group)
        low = np.minimum(np.minimum.reduceat(weights, starts, axis=0), 0)
        high = np.maximum(np.maximum.reduceat(weights, starts, axis=0), 0)
        levels = (1 << self.row.bits) - 1
        tiny = np.float32(np.finfo(np.float16).smallest_subnormal)
        scale = np.clip((high - low) / np.float32(levels), tiny, np.finfo(np.float16).max)
        self.scale = scale.astype(np.float16).astype(np.float32)
        self.zero = np.rint(-low / self.scale)
        self.levels = np.float32(levels)
        self.channels = np.arange(0)

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        self.keep(channels)

    def keep(self, channels: np.ndarray) -> None:
        self.channels = channels

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        group = self.channels[start : start + len(targets)] // self.row.group
        scale, zero = self.scale[group], self.zero[group]
        codes = np.clip(np.rint(targets / scale) + zero, 0, self.levels)
        return (codes - zero) * scale

    def finish(self, values: np.ndarray) -> tuple[StudyWeight, dict]:
        inputs = len(values)
        overhead = 2 * SCALE_BITS * blocks(inputs, self.row.group) / inputs
        bits = self.row.bits + overhead
        return StudyWeight(self.row.name, np.ascontiguousarray(values.T), bits), {}
