"""Round to nearest: what every other method is compared with; needs no data."""

import numpy as np

from ....target.packing import QuantizedWeight
from ..base import GRID_FORMATS, NoOptions, method
from ..grids import make_grid
from ..solve import rounded
from ..statistics import Statistics
from ..study import StudyWeight


@method("rtn", formats=GRID_FORMATS, options=NoOptions)
def rtn(
    weight: np.ndarray, format_name: str, _: Statistics | None, options: NoOptions
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Quantize ``(out, in)`` to the nearest values that the format has."""
    return rounded(weight, lambda weights: make_grid(format_name, weights))
