"""How large a weight a format can hold: its scales end somewhere, and beyond all saturates."""

import numpy as np

from ...target.errors import InputError
from ...target.formats import WEIGHT_FORMATS, ScaleKind
from .grids.ms import ISF_MAX
from .host_formats import STUDY_FORMATS

FP16_MAX = float(np.finfo(np.float16).max)
LARGEST_SCALE = {ScaleKind.COLUMN_FP16: FP16_MAX, ScaleKind.ROW_POW2: 2.0**ISF_MAX}
"""Of kinds whose scales end before fp32 does."""


def largest_weight(format_name: str) -> float:
    """Return the largest magnitude that a format can hold, infinite where fp32 ends before it."""
    if format_name in WEIGHT_FORMATS:
        row = WEIGHT_FORMATS[format_name]
        top = LARGEST_SCALE.get(row.scale, np.inf)
        return top * row.q_max * 2.0**-row.fraction_bits
    study = STUDY_FORMATS[format_name]
    # A range is between the least and the largest weight of a group: half of it on either side.
    return np.inf if study.codes is not None else FP16_MAX * ((1 << study.bits) - 1) / 2


def check_reach(weight: np.ndarray, format_name: str, layer: str) -> None:
    """Raise InputError for weights that saturate whatever their scale, naming the largest."""
    limit = largest_weight(format_name)
    beyond = np.abs(weight) > limit
    if beyond.any():
        where = tuple(int(i) for i in np.unravel_index(np.abs(weight).argmax(), weight.shape))
        raise InputError(
            f"layer '{layer}': weight[{', '.join(map(str, where))}] is {weight[where]:g}; "
            f"{int(beyond.sum())} of {weight.size} weights are beyond {limit:.3g}, the largest "
            f"that '{format_name}' has a scale for; keep the layer in fp32 (an override with "
            'weight_format = "fp32") or rescale it'
        )
