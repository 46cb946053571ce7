"""Grids: which values a format can store, chosen and rounded to a few input channels at a time."""

from ....target.formats import WEIGHT_FORMATS
from ..study import STUDY_FORMATS
from .asymmetric import AsymmetricGrid
from .base import Grid
from .groups import GroupGrid
from .loose import LooseMsGrid
from .ms import MsGrid, MsOptions

__all__ = ["Grid", "GroupGrid", "MsGrid", "MsOptions", "make_grid"]


def make_grid(format_name: str, rows, options: MsOptions | None = None) -> Grid:
    """Return the grid of a format for weights ``(in, out)``.

    Formats with clusters have none: their input channels can't be rounded one by one.
    """
    if format_name in STUDY_FORMATS:
        return AsymmetricGrid(format_name, rows)
    if WEIGHT_FORMATS[format_name].has_outliers:
        inputs, out = rows.shape
        chosen = options or MsOptions()
        kind = MsGrid if chosen.on_machine else LooseMsGrid
        return kind(format_name, inputs, out, chosen)
    return GroupGrid(format_name, rows)
