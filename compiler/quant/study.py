"""Formats for comparison that no machine of ours decodes: what GPTQ's users run on a GPU."""

from dataclasses import dataclass

import numpy as np

SCALE_BITS = 16
"""Of an fp16 scale; the zero point has as many, so that it may lie between codes' values."""


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
class StudyFormat:
    """Bits of a code, and how many input channels share a scale and a zero point."""

    name: str
    bits: int
    group: int


STUDY_FORMATS = {
    f"uint{bits}-g{group}": StudyFormat(f"uint{bits}-g{group}", bits, group)
    for bits in (2, 3, 4, 8)
    for group in (128, 64, 32)
}
