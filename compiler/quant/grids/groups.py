"""Integers with a scale per output channel and group of inputs, known from the start."""

import numpy as np

from ....target.formats import WEIGHT_FORMATS, ScaleKind
from ....target.scales import E4M3_MAX, EXPONENT_MIN
from ....target.weight import QuantizedWeight, column_factors
from .clipping import Clip
from .nearest import codes_of, nearest_of


class GroupGrid:
    """A format's integers times ``max|w| / q_max`` of the original weights of a group, or less.

    The scales are those of the original weights whatever the order of rounding: GPTQ's static
    groups, which keep groups of neighbouring channels when they are rounded out of order.
    """

    def __init__(self, format_name: str, weights: np.ndarray, clip: Clip | None = None):
        self.row = WEIGHT_FORMATS[format_name]
        self.nearest = nearest_of(self.row)
        inputs, out = weights.shape
        starts = np.arange(0, inputs, self.row.group)
        largest = np.maximum.reduceat(np.abs(weights), starts, axis=0)
        self.factor = self._factor(largest)
        self._choose(largest)
        if clip is not None:

            def rounded(factor: float) -> np.ndarray:
                self._choose(largest * np.float32(factor))
                scale = np.repeat(self.scale, self.row.group, axis=0)[:inputs]
                return self.nearest(weights / scale) * scale

            self._choose(largest * clip.narrowed(weights, self.row.group, rounded))
        self.saturated = np.zeros(inputs, np.int64)
        self.channels = np.arange(0)
        self.factors = np.zeros((0, out), np.float32)

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        self.keep(channels)

    def keep(self, channels: np.ndarray) -> None:
        self.channels = channels
        self.factors = self.scale[channels // self.row.group]

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        scale = self.factors[start : start + len(targets)]
        ratio = targets / scale
        channels = self.channels[start : start + len(targets)]
        beyond = np.rint(np.abs(ratio)) > self.row.q_max
        self.saturated[channels] = beyond.sum(axis=1)
        return self.nearest(ratio) * scale

    def finish(self, values: np.ndarray) -> tuple[QuantizedWeight, dict[str, int]]:
        scale = np.repeat(self.scale, self.row.group, axis=0)[: len(values)]
        integers = np.rint(values / scale).astype(np.int16)
        slots = np.ascontiguousarray(codes_of(self.row)[integers + 127].T)
        weight = QuantizedWeight(self.row.name, slots, scale=self.stored.copy(), factor=self.factor)
        return weight, {"saturated": int(self.saturated.sum())}

    def _factor(self, largest: np.ndarray) -> np.ndarray | None:
        """Return the factor of E4M3 scales: the largest of them is the largest of E4M3."""
        if self.row.scale is not ScaleKind.COLUMN_E4M3:
            return None
        top = self.row.q_max * np.float32(2.0**-self.row.fraction_bits) * np.float32(E4M3_MAX)
        # Below normal numbers the factor itself would lose bits.
        least = np.finfo(np.float32).tiny * 2**16
        return np.maximum(largest.max(initial=0) / top, least).astype(np.float32).reshape(1)

    def _choose(self, largest: np.ndarray) -> None:
        """Store the scales of groups whose largest weight is given, or is to be clipped to it."""
        row, kind = self.row, self.row.column_scale
        assert kind is not None
        unit = 2.0**row.fraction_bits
        if row.scale is ScaleKind.COLUMN_E8M0:
            # The binade of the largest weight becomes that of the largest element (OCP MX v1.0).
            binade = row.q_max.bit_length() - 1
            wanted = np.ldexp(largest, -binade)
            wanted = np.maximum(wanted, np.ldexp(np.float32(1), EXPONENT_MIN))
        else:
            wanted = largest / np.float32(row.q_max)
            if self.factor is not None:
                wanted = wanted / self.factor
        self.stored = kind.encode(wanted * np.float32(unit))
        found = QuantizedWeight(row.name, self.stored, scale=self.stored, factor=self.factor)
        self.scale = column_factors(found)
