"""A quantization that reads its values from where they were before they were moved for it."""

import itertools
import operator
from dataclasses import dataclass, replace

from ..operators import LOAD, Quantize, Vector
from .strides import along


@dataclass(frozen=True)
class Moved:
    """A quantization of values at strides.

    Attributes
    ----------
    op : Quantize
        Seen as images whose rows lie at one stride each.
    shape : tuple of int
        What it is given.
    strides : tuple of int
        From image to image, row to row, and element to element of what is given.
    """

    op: Quantize
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def moved(vector: Vector, op: Quantize) -> Moved | None:
    """Return a quantization behind a vector operator that only moves values, None of another."""
    if op.across or len(vector.parts) != 1 or vector.dtypes != ("float32",) * 2:
        return None
    (part,) = vector.parts
    if [value.kind for value in part.values] != [LOAD] or len(part.stores) != 1:
        return None
    source, (_, target) = part.values[0].access, part.stores[0]
    if source is None or source.offset:
        return None
    total = op.batch * op.rows
    for images in dict.fromkeys((op.batch, *itertools.accumulate(part.outer, operator.mul))):
        if total % images:
            continue
        strides = along(part, target, source, (images, total // images, op.length))
        if strides is not None:
            seen = replace(op, batch=images, rows=total // images)
            return Moved(seen, vector.arguments[0], tuple(strides))
    return None
