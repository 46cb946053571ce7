"""Where a tensor's elements lie along the axes of another one that is walked over."""

import math
from collections.abc import Sequence

from ..operators import Access, Part


def along(part: Part, walked: Access, access: Access, shape: Sequence[int]) -> list[int] | None:
    """Return an access's strides along the axes of a tensor, None where it has none.

    Parameters
    ----------
    part : Part
        Reads or writes elements of both.
    walked : Access
        To the tensor, each of its elements once.
    shape : sequence of int
        Of the tensor's axes as they are wanted, row-major.
    """
    # Each axis of the part as a step through the tensor.
    every = sorted(_axes(part, walked, access), reverse=True)
    size = 1
    for step, extent, _ in reversed(every):
        if step != size:
            return None
        size *= extent
    if size != math.prod(shape) or walked.offset:
        return None
    rest: list[tuple[int, int]] = []
    for _, extent, stride in reversed(every):
        if rest and stride == rest[-1][0] * rest[-1][1]:
            rest[-1] = (rest[-1][0] * extent, rest[-1][1])
        else:
            rest.append((extent, stride))
    found: list[int] = []
    for extent in reversed(shape):
        by = _axis(rest, extent)
        if by is None:
            return None
        found.append(by)
    return found[::-1]


def _axes(part: Part, walked: Access, access: Access) -> list[tuple[int, int, int]]:
    extents = [*part.outer, part.rows, part.columns // part.near, part.near]
    pairs = [
        [*each.outer, each.row, each.far if part.near < part.columns else 0, each.column]
        for each in (walked, access)
    ]
    return [row for row in zip(pairs[0], extents, pairs[1], strict=True) if row[1] > 1]


def _axis(rest: list[tuple[int, int]], wanted: int) -> int | None:
    """Take an axis off those that are left, innermost first, and return its stride."""
    covered, first = 1, 0
    while covered < wanted:
        extent, stride = rest.pop(0)
        missing = wanted // covered
        if wanted % covered or (extent > missing and extent % missing):
            return None
        if extent > missing:
            rest.insert(0, (extent // missing, stride * missing))
            extent = missing
        first = first if covered > 1 else stride
        if stride != first * covered:
            return None
        covered *= extent
    return first if covered == wanted else None
