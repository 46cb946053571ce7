"""Codes of 8 bits with one fp32 scale per output channel: symmetric integers, or E4M3."""

import numpy as np

from ..host_formats import CHANNEL_SCALE_BITS, STUDY_FORMATS, StudyWeight
from .clipping import Clip

TINY = np.finfo(np.float32).tiny


class ChannelGrid:
    """``scale = max|w| / largest code`` of the original weights of an output channel."""

    def __init__(self, format_name: str, weights: np.ndarray, clip: Clip | None = None):
        self.row = STUDY_FORMATS[format_name]
        assert self.row.codes is not None
        self.codes = self.row.codes
        largest = np.abs(weights).max(axis=0)
        full = np.maximum(largest / np.float32(self.codes.largest), TINY)
        self.scale = np.where(largest > 0, full, np.float32(1))
        self.saturated = np.zeros(len(weights), np.int64)
        self.channels = np.arange(0)
        if clip is not None:
            full = self.scale

            def rounded(factor: float) -> np.ndarray:
                self.scale = np.maximum(full * np.float32(factor), TINY)
                return self._rounded(weights)[0]

            narrowed = clip.narrowed(weights, len(weights), rounded)[0]
            self.scale = np.maximum(full * narrowed, TINY)

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        self.keep(channels)

    def keep(self, channels: np.ndarray) -> None:
        self.channels = channels

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        values, clipped = self._rounded(targets)
        self.saturated[self.channels[start : start + len(targets)]] = clipped.sum(axis=1)
        return values

    def _rounded(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes, clipped = self.codes.rounded(targets / self.scale)
        return codes * self.scale, clipped

    def finish(self, values: np.ndarray) -> tuple[StudyWeight, dict[str, int]]:
        bits = self.row.bits + CHANNEL_SCALE_BITS / len(values)
        weight = StudyWeight(self.row.name, np.ascontiguousarray(values.T), bits)
        return weight, {"saturated": int(self.saturated.sum())}
