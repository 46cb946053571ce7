"""GPTQ (ICLR 2023, arXiv 2210.17323): errors compensated by the input channels that follow.

Channels of large power first (act-order), scales of the original groups (static groups).
"""

import numpy as np

from ....target.packing import QuantizedWeight
from ..base import GRID_FORMATS, method
from ..grids import make_grid
from ..solve import Compensation, compensated
from ..statistics import Statistics
from ..study import StudyWeight


@method("gptq", formats=GRID_FORMATS, options=Compensation, needs_statistics=True)
def gptq(
    weight: np.ndarray, format_name: str, statistics: Statistics, options: Compensation
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Quantize ``(out, in)`` for least error of its outputs on calibration rows."""
    make = lambda weights: make_grid(format_name, weights)  # noqa: E731
    return compensated(weight, make, statistics, options)
