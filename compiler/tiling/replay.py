"""Array rows that replayed outliers take, where they lie where chance puts them."""

import functools
import math

from ...target.arch import Arch
from ...target.formats import MICRO_BLOCK, WEIGHT_FORMATS
from ...target.replay import outlier_digits
from ...target.weight import blocks
from ..operators import Gemm
from .tile import array_limits

NEGLIGIBLE = 1e-6
"""Of lists that are longer with less than this chance nothing is left to count."""


def replay_step(op: Gemm, arch: Arch) -> int:
    """Return the rows of an unfolded panel that a plane holds."""
    return array_limits(op, arch)[1]


def expected_rows(op: Gemm, arch: Arch, inputs: int, width: int) -> int:
    """Return the rows of an unfolded panel of so many inputs, over a plane's columns."""
    if not op.flagged_share:
        return inputs
    strip = min(arch.replay_columns, width)
    flagged = 1 - (1 - op.flagged_share) ** blocks(strip, MICRO_BLOCK)
    longest = _longest(inputs, blocks(width, strip), flagged)
    return inputs + outlier_digits(WEIGHT_FORMATS[op.weight_format]) * longest


@functools.lru_cache(maxsize=1024)
def _longest(inputs: int, strips: int, flagged: float) -> int:
    """Return the expected length of the longest list of several strips."""
    up_to, mean = 0.0, 0.0
    for count in range(inputs):
        up_to += math.comb(inputs, count) * flagged**count * (1 - flagged) ** (inputs - count)
        longer = 1 - min(1.0, up_to) ** strips
        mean += longer
        if longer < NEGLIGIBLE:
            break
    return round(mean)


def plane_depths(op: Gemm, arch: Arch, inputs: int, width: int) -> list[int]:
    """Return the array rows of each plane that a panel of so many inputs is unfolded to."""
    rows, step = expected_rows(op, arch, inputs, width), replay_step(op, arch)
    return [min(step, rows - first) for first in range(0, rows, step)]
