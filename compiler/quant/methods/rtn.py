"""Round to nearest: what every other method is compared with; needs no data."""

import numpy as np

from ....target.weight import QuantizedWeight
from ..base import GRID_FORMATS, method
from ..grids import ClipOptions, clip_of, make_grid
from ..host_formats import StudyWeight
from ..solve import rounded
from ..statistics import Statistics


@method("rtn", formats=GRID_FORMATS, options=ClipOptions)
def rtn(
    weight: np.ndarray, format_name: str, statistics: Statistics | None, options: ClipOptions
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Quantize ``(out, in)`` to the nearest values that the format has."""
    clip = clip_of(options, statistics)
    return rounded(weight, lambda weights: make_grid(format_name, weights, clip=clip))
