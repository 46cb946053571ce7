"""Reductions over a window that moves with the element, such as pooling, element by element."""

import itertools
from dataclasses import replace

import numpy as np
from tvm import tirx

from .blocks import Block, start_of
from .expressions import loads_of, replaced, variables_of

MOST = 64
"""Elements of a window that is taken apart."""
JOIN = {"sum": tirx.Add, "maximum": tirx.Max, "minimum": tirx.Min}
TRUTH = {"maximum": tirx.Or, "minimum": tirx.And}


def unrolled(block: Block) -> Block:
    """Return a window's reduction as one expression of its elements, in their order.

    What is no window stays: rows of the vector unit's own reductions.
    """
    if not is_window(block):
        return block
    extents = [block.axes[var] for var in block.reduced]
    dtype = str(block.buffer.dtype)
    # What is above all integers, or below, needs more bits than the unit has, and changes nothing.
    without = block.reduction != "sum" and "int" in dtype
    value = None if without else tirx.const(start_of(block.reduction, dtype), dtype)
    join = (TRUTH if dtype == "bool" else JOIN)[block.reduction]
    for places in itertools.product(*map(range, extents)):
        here = {
            var: tirx.const(place, str(var.ty.dtype))
            for var, place in zip(block.reduced, places, strict=True)
        }
        one = replaced(block.value, here)
        value = one if value is None else join(value, one)
    axes = {var: extent for var, extent in block.axes.items() if var not in block.reduced}
    return replace(block, axes=axes, reduced=(), value=value, reduction="")


def is_window(block: Block) -> bool:
    """Tell whether a block reduces a window that moves with the element, and is small.

    A reduction of one element is a window too: its row is none that columns are.
    """
    count = int(np.prod([block.axes[var] for var in block.reduced]))
    if not block.reduced or count > MOST:
        return False
    return count == 1 or _moves_with_element(block)


def _moves_with_element(block: Block) -> bool:
    """Tell whether an index has both an axis that is reduced and one that isn't."""
    reduced = set(block.reduced)
    for load in loads_of(block.value):
        for index in load.indices:
            if loads_of(index):
                continue
            used = {var for var in variables_of(index) if block.axes.get(var, 1) > 1}
            if used & reduced and used - reduced:
                return True
    return False
