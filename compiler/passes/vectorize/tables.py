"""Numbers that follow from places, as constant tensors: masks, weights of an interpolation.

What cuts into pieces can't settle, because it changes from element to element, is computed while
compiling. A function gets such a table as one more operand. Places that aren't strides become
indices from a table, and their loads go by index.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from tvm import ir, tirx
from tvm_ffi import structural_map, structural_walk

from .blocks import Block
from .expressions import called, children, loads_of, variables_of
from .pieces import changes
from .places import evaluate, is_integer
from .refusal import Refused

FEW = 4
"""Pieces into which one expression may cut a block."""
MOST_NUMBERS = 1 << 20
"""Elements of a table."""
STRIDED = (
    tirx.Add, tirx.Sub, tirx.Mul, tirx.FloorDiv, tirx.FloorMod, tirx.Var, tirx.IntImm, tirx.Cast,
)  # fmt: skip
"""What a place is made of that strides may serve."""


@dataclass(eq=False)
class Tables:
    """Constant operands of a function: buffers, and what is in them."""

    made: list[tuple[tirx.Buffer, np.ndarray]] = field(default_factory=list)

    def load(self, expr, axes: dict):
        """Return a load of an expression's values, which depend on some axes."""
        used = [var for var in axes if var in variables_of(expr)]
        shape = [axes[var] for var in used]
        if math.prod(shape) > MOST_NUMBERS:
            raise Refused(f"a table of more than {MOST_NUMBERS:,} numbers of places")
        values = evaluate(expr, dict(zip(used, np.ix_(*map(np.arange, shape)), strict=True)))
        if values is None:
            raise Refused("what it computes of an element depends on where that is")
        dtype = "int32" if is_integer(expr) else "float32"
        numbers = np.ascontiguousarray(np.broadcast_to(values, shape)).astype(dtype)
        buffer = self._buffer(numbers)
        return tirx.BufferLoad(buffer, used)

    def _buffer(self, numbers: np.ndarray) -> tirx.Buffer:
        for buffer, there in self.made:
            if there.dtype == numbers.dtype and np.array_equal(there, numbers):
                return buffer
        name = f"table{len(self.made)}"
        buffer = tirx.decl_buffer(numbers.shape, str(numbers.dtype), name)
        self.made.append((buffer, numbers))
        return buffer


def tabled(block: Block, tables: Tables) -> Block:
    """Return a block in which tables stand for what changes with the place of an element."""
    value = structural_map(
        block.value, (ir.TensorLoad, lambda load: _by_index(load, block.axes, tables))
    )
    return replace(block, value=_with_tables(value, block, tables))


def _by_index(load, axes: dict, tables: Tables):
    """Return a load whose places are strides, or indices that are loaded."""
    indices = [
        index if loads_of(index) or _may_be_strided(index) else tables.load(index, axes)
        for index in load.indices
    ]
    return tirx.BufferLoad(load.source, indices)


def _may_be_strided(index) -> bool:
    found: list = []
    structural_walk(index, (ir.Expr, found.append))
    return all(isinstance(node, STRIDED) and is_integer(node) for node in found)


def _with_tables(value, block: Block, tables: Tables):
    if isinstance(value, tirx.FloatImm | tirx.IntImm | ir.TensorLoad):
        return value
    if not loads_of(value) and variables_of(value):
        if is_integer(value) and _is_cut(value, block):
            return value
        if not is_integer(value) and all(_is_cut(part, block) for part in _integers(value)):
            return value
        if str(value.ty.dtype) == "bool":
            chosen = tirx.Select(value, tirx.const(1, "int32"), tirx.const(0, "int32"))
            return tirx.NE(tables.load(chosen, block.axes), tirx.const(0, "int32"))
        table = tables.load(value, block.axes)
        return tirx.Cast(str(value.ty.dtype), table) if is_integer(value) else table
    parts = children(value)
    # What keeps loads inside of a tensor can't be a number among others.
    first = 1 if called(value) == "if_then_else" else 0
    return _rebuilt(
        value, parts[:first] + [_with_tables(part, block, tables) for part in parts[first:]]
    )


def _integers(value) -> list:
    """Return the largest integer expressions with a variable."""
    if is_integer(value):
        return [value] if variables_of(value) else []
    return [found for child in children(value) for found in _integers(child)]


def _is_cut(expr, block: Block) -> bool:
    """Tell whether a few cuts across axes settle an expression; what is summed stays whole."""
    try:
        places = changes(expr, block.axes)
    except Refused:
        return False
    if any(places.get(var) for var in block.reduced):
        return False
    return math.prod(len(each) + 1 for each in places.values()) <= FEW


def _rebuilt(value, parts: list):
    if not parts:
        return value
    if isinstance(value, tirx.Select):
        return tirx.Select(*parts)
    if isinstance(value, ir.Call):
        return ir.Call(value.op, parts, ret_ty=value.ty)
    if isinstance(value, tirx.Cast):
        return tirx.Cast(str(value.ty.dtype), *parts)
    return type(value)(*parts)
