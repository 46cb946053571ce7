"""GPTQ (ICLR 2023, arXiv 2210.17323): errors compensated by the input channels that follow.

Channels of large power first (act-order), scales of the original groups (static groups).
"""

from dataclasses import dataclass

import numpy as np

from ....target.weight import QuantizedWeight
from ..base import GRID_FORMATS, method
from ..grids import ClipOptions, clip_of, make_grid
from ..host_formats import StudyWeight
from ..solve import Compensation, compensated
from ..statistics import Statistics


@dataclass(frozen=True)
class GptqOptions(Compensation, ClipOptions):
    """Options of the compensation and of the groups' ranges."""

    def __post_init__(self):
        Compensation.__post_init__(self)
        ClipOptions.__post_init__(self)


@method("gptq", formats=GRID_FORMATS, options=GptqOptions, needs_statistics=True)
def gptq(
    weight: np.ndarray, format_name: str, statistics: Statistics, options: GptqOptions
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Quantize ``(out, in)`` for least error of its outputs on calibration rows."""
    clip = clip_of(options, statistics)
    make = lambda weights: make_grid(format_name, weights, clip=clip)  # noqa: E731
    return compensated(weight, make, statistics, options)
