"""Integers with one fp16 scale per output channel and group of 128 inputs, known from the start."""

import numpy as np

from ....target.formats import GROUP_SIZE, WEIGHT_FORMATS
from ....target.packing import QuantizedWeight


class GroupGrid:
    """Symmetric integers, ``scale = max|w| / q_max`` of the original weights of a group.

    The scales are those of the original weights whatever the order of rounding: GPTQ's static
    groups, which keep groups of neighbouring channels when they are rounded out of order.
    """

    def __init__(self, format_name: str, weights: np.ndarray):
        self.row = WEIGHT_FORMATS[format_name]
        inputs, out = weights.shape
        starts = np.arange(0, inputs, GROUP_SIZE)
        largest = np.maximum.reduceat(np.abs(weights), starts, axis=0)
        # fp16 has a floor: a scale that rounds to zero would divide by zero.
        tiny, huge = np.finfo(np.float16).smallest_subnormal, np.finfo(np.float16).max
        scale = np.clip(largest / np.float32(self.row.q_max), np.float32(tiny), huge)
        self.scale = scale.astype(np.float16)
        self.saturated = np.zeros(inputs, np.int64)
        self.channels = np.arange(0)
        self.factors = np.zeros((0, out), np.float32)

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        self.keep(channels)

    def keep(self, channels: np.ndarray) -> None:
        self.channels = channels
        self.factors = self.scale[channels // GROUP_SIZE].astype(np.float32)

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        scale = self.factors[start : start + len(targets)]
        q = np.rint(targets / scale)
        codes = np.clip(q, -self.row.q_max, self.row.q_max)
        channels = self.channels[start : start + len(targets)]
        self.saturated[channels] = (codes != q).sum(axis=1)
        return codes * scale

    def finish(self, values: np.ndarray) -> tuple[QuantizedWeight, dict[str, int]]:
        scale = np.repeat(self.scale, GROUP_SIZE, axis=0)[: len(values)].astype(np.float32)
        codes = np.rint(values / scale).astype(np.int8)
        slots = codes.view(np.uint8) & ((1 << self.row.bits) - 1)
        slots = np.ascontiguousarray(slots.T)
        weight = QuantizedWeight(self.row.name, slots, scale=self.scale.copy())
        return weight, {"saturated": int(self.saturated.sum())}
