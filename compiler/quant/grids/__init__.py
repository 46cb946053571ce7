"""Grids: which values a format can store, chosen and rounded to a few input channels at a time."""

from ....target.errors import ConfigError
from ....target.formats import WEIGHT_FORMATS
from ..host_formats import STUDY_FORMATS
from .asymmetric import AsymmetricGrid
from .base import Grid
from .channel import ChannelGrid
from .clipping import Clip, ClipOptions, clip_of
from .groups import GroupGrid
from .loose import LooseMsGrid
from .ms import MsGrid, MsOptions

__all__ = ["Clip", "ClipOptions", "Grid", "MsOptions", "clip_of", "make_grid"]


def make_grid(
    format_name: str, rows, options: MsOptions | None = None, clip: Clip | None = None
) -> Grid:
    """Return the grid of a format for weights ``(in, out)``.

    Formats with clusters or pairs have none: their input channels can't be rounded one by one.

    Raises
    ------
    ConfigError
        For ranges to clip in a format with outliers, which has none.
    """
    if format_name in STUDY_FORMATS:
        kind = ChannelGrid if STUDY_FORMATS[format_name].codes else AsymmetricGrid
        return kind(format_name, rows, clip)
    if WEIGHT_FORMATS[format_name].column_scale is not None:
        return GroupGrid(format_name, rows, clip)
    if clip is not None:
        raise ConfigError(
            f"format '{format_name}' has outliers instead of ranges to clip; allowed: clip = 'none'"
        )
    inputs, out = rows.shape
    chosen = options or MsOptions()
    machine = MsGrid if chosen.on_machine else LooseMsGrid
    return machine(format_name, inputs, out, chosen)
