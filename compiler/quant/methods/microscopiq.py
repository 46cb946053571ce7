"""MicroScopiQ (ISCA 2025): outliers kept at twice the bits, least inliers pruned, errors made good.

What is stored how is the grid's (`grids/ms.py`); the order of things is A2's: block after block
of input channels, outliers and scales chosen from the weights as the errors so far left them.
Without statistics of the inputs nothing is compensated.
"""

from dataclasses import dataclass

import numpy as np

from ....target.formats import WEIGHT_FORMATS
from ....target.weight import QuantizedWeight
from ..base import method
from ..grids import Grid, MsOptions, make_grid
from ..host_formats import StudyWeight
from ..solve import Compensation, compensated, rounded
from ..statistics import Statistics

FORMATS = tuple(name for name, row in WEIGHT_FORMATS.items() if row.has_outliers)


@dataclass(frozen=True)
class MicroscopiqOptions(MsOptions, Compensation):
    """Options of the grid and of the compensation."""

    def __post_init__(self):
        MsOptions.__post_init__(self)
        Compensation.__post_init__(self)


@method("microscopiq", formats=FORMATS, options=MicroscopiqOptions)
def microscopiq(
    weight: np.ndarray,
    format_name: str,
    statistics: Statistics | None,
    options: MicroscopiqOptions,
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Quantize ``(out, in)`` float32 to a MicroScopiQ format.

    Returns
    -------
    weight : QuantizedWeight
    counts : dict
        ``outliers`` kept, ``flagged`` of ``micro_blocks``, ``overflow`` (beyond 4 in a micro-block,
        or without a partner in a narrow one), ``demoted`` (closer to a clamped inlier), ``pruned``
        slots, ``saturated`` (inliers beyond the largest code, outliers out of their exponent's
        octave), ``second_passes`` (micro-blocks that ReCoN can't route in one), ``aligned`` scales
        raised so that 32-bit partial sums can't overflow; ``damping`` if errors were compensated.
    """

    def make(weights: np.ndarray) -> Grid:
        return make_grid(format_name, weights, options)

    if statistics is None:
        return rounded(weight, make)
    return compensated(weight, make, statistics, options)
