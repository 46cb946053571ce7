"""AWQ (MLSys 2024, arXiv 2306.00978): rounding to nearest after a search for scales and ranges.

Scales of input channels move between a weight and what comes before it, and layers that read one
value share them: that is a recipe's `migration = "awq"` (`passes/factors.py`). What is left for the
method are the ranges of groups, clipped where the outputs' error falls, and the rounding.
"""

from dataclasses import dataclass

import numpy as np

from ....target.formats import WEIGHT_FORMATS
from ....target.weight import QuantizedWeight
from ..base import GRID_FORMATS, method
from ..grids import ClipOptions
from ..host_formats import StudyWeight
from ..statistics import Statistics
from .rtn import rtn

FORMATS = tuple(
    name
    for name in GRID_FORMATS
    if name not in WEIGHT_FORMATS or not WEIGHT_FORMATS[name].has_outliers
)


@dataclass(frozen=True)
class AwqOptions(ClipOptions):
    """Options of rounding to nearest, with another default."""

    clip: str = "outputs"


@method("awq", formats=FORMATS, options=AwqOptions, needs_statistics=True)
def awq(
    weight: np.ndarray, format_name: str, statistics: Statistics | None, options: AwqOptions
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Quantize ``(out, in)`` to nearest, in ranges that leave least error of the outputs."""
    return rtn(weight, format_name, statistics, options)
