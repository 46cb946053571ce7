"""Integers with one fp16 scale per output channel and group of inputs, known from the start."""

import numpy as np

from ....target.formats import WEIGHT_FORMATS
from ....target.weight import QuantizedWeight
from .clipping import Clip


class GroupGrid:
    """Symmetric integers, ``scale = max|w| / q_max`` of the original weights of a group or less.

    The scales are those of the original weights whatever the order of rounding: GPTQ's static
    groups, which keep groups of neighbouring channels when they are rounded out of order.
    """

    def __init__(self, format_name: str, weights: np.ndarray, clip: Clip | None = None):
        self.row = WEIGHT_FORMATS[format_name]
        inputs, out = weights.shape
        starts = np.arange(0, inputs, self.row.group)
        largest = np.maximum.reduceat(np.abs(weights), starts, axis=0)
        full = largest / np.float32(self.row.q_max)
        self.scale = _fp16(full)
        if clip is not None:

            def rounded(factor: float) -> np.ndarray:
                scale = _fp16(full * np.float32(factor)).astype(np.float32)
                scale = np.repeat(scale, self.row.group, axis=0)[:inputs]
                return np.clip(np.rint(weights / scale), -self.row.q_max, self.row.q_max) * scale

            self.scale = _fp16(full * clip.narrowed(weights, self.row.group, rounded))
        self.saturated = np.zeros(inputs, np.int64)
        self.channels = np.arange(0)
        self.factors = np.zeros((0, out), np.float32)

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        self.keep(channels)

    def keep(self, channels: np.ndarray) -> None:
        self.channels = channels
        self.factors = self.scale[channels // self.row.group].astype(np.float32)

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        scale = self.factors[start : start + len(targets)]
        q = np.rint(targets / scale)
        codes = np.clip(q, -self.row.q_max, self.row.q_max)
        channels = self.channels[start : start + len(targets)]
        self.saturated[channels] = (codes != q).sum(axis=1)
        return codes * scale

    def finish(self, values: np.ndarray) -> tuple[QuantizedWeight, dict[str, int]]:
        scale = np.repeat(self.scale, self.row.group, axis=0)[: len(values)].astype(np.float32)
        codes = np.rint(values / scale).astype(np.int8)
        slots = codes.view(np.uint8) & ((1 << self.row.bits) - 1)
        slots = np.ascontiguousarray(slots.T)
        weight = QuantizedWeight(self.row.name, slots, scale=self.scale.copy())
        return weight, {"saturated": int(self.saturated.sum())}


def _fp16(scale: np.ndarray) -> np.ndarray:
    """Return scales as fp16, which has a floor: one that rounded to zero would divide by zero."""
    tiny, huge = np.finfo(np.float16).smallest_subnormal, np.finfo(np.float16).max
    return np.clip(scale, np.float32(tiny), huge).astype(np.float16)
