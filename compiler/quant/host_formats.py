"""Formats for comparison that no machine of ours decodes: what others run on a GPU."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .e4m3 import E4M3_MAX, to_e4m3

SCALE_BITS = 16
"""Of an fp16 scale; the zero point has as many, so that it may lie between codes' values."""
CHANNEL_SCALE_BITS = 32
"""Of the fp32 scale of an output channel."""


@dataclass(frozen=True)
class StudyWeight:
    """A weight that only a host can compute with.

    Attributes
    ----------
    format : str
        Row of `STUDY_FORMATS`.
    values : numpy.ndarray
        float32 ``(out, in)``.
    bits : float
        Bits per weight, scales and zero points included.
    """

    format: str
    values: np.ndarray
    bits: float


@dataclass(frozen=True)
class Codes:
    """Symmetric codes: the largest magnitude, its distance to the next, and the nearest code."""

    largest: float
    last_step: float
    nearest: Callable[[np.ndarray], np.ndarray]

    def rounded(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 codes of weights over their scale, and where they are clipped."""
        kept = np.clip(ratio, -self.largest, self.largest)
        return self.nearest(kept), np.abs(ratio) > self.largest + self.last_step / 2


INT8 = Codes(127.0, 1.0, np.rint)
FP8 = Codes(E4M3_MAX, 32.0, to_e4m3)


@dataclass(frozen=True)
class StudyFormat:
    """A row of the registry of formats for comparison.

    Attributes
    ----------
    bits : int
        Of a code.
    group : int
        Input channels that share a scale and a zero point; 0 for a scale per output channel.
    codes : Codes or None
        Of a format with a scale per output channel.
    """

    name: str
    bits: int
    group: int
    codes: Codes | None = None


STUDY_FORMATS = {
    row.name: row
    for row in (
        *(
            StudyFormat(f"uint{bits}-g{group}", bits, group)
            for bits in (2, 3, 4, 8)
            for group in (128, 64, 32)
        ),
        StudyFormat("int8-channel", 8, 0, INT8),
        StudyFormat("fp8-channel", 8, 0, FP8),
    )
}
STUDY_ACTIVATIONS = {"int8-token": INT8, "fp8-token": FP8}
"""Codes of activations for comparison, which have one fp32 scale per token."""


@dataclass(frozen=True)
class KvFormat:
    """A cache of keys and values, with an fp16 scale and minimum per group.

    Attributes
    ----------
    bits : int
        Of a code.
    group : int
        Tokens of a key's channel, and channels of a token's value, that share a scale.
    recent : int
        Tokens that stay in full precision.
    """

    bits: int
    group: int
    recent: int

    @property
    def bits_per_element(self) -> float:
        """Of the rounded tokens, scales and minima of whole groups included."""
        return self.bits + 2 * SCALE_BITS / self.group


KV_FORMATS = {"kv2-g128": KvFormat(2, 128, 128)}
"""Caches for comparison: MicroScopiQ's (A2), in KIVI's layout."""
