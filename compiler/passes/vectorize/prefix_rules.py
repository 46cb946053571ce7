"""Operators whose result for smaller sizes is the beginning of the one for the largest.

So it is of an operator that computes each element from elements that have the same place for all
sizes, and of which no number but how many there are follows from a size. A rule tells whether a
call is one, given that its operands are beginnings themselves.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tvm
from tvm import relax, s_tir, tirx
from tvm_ffi import structural_walk

from ...partition.graph import op_name, sized_shape, static_shape
from ...sizes import number_of
from ...symbolic import Symbolic, symbols_of
from .expressions import loads_of, variables_of

Rule = Callable[[relax.Call], bool]

ELEMENTWISE = (
    "abs", "add", "astype", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "clip",
    "cos", "divide", "equal", "exp", "floor", "floor_divide", "floor_mod", "greater",
    "greater_equal", "less", "less_equal", "log", "logical_and", "logical_not", "logical_or",
    "logical_xor", "maximum", "minimum", "mod", "multiply", "negative", "not_equal", "power",
    "rsqrt", "sin", "sqrt", "square", "subtract", "tanh", "where",
)  # fmt: skip
MOVED = ("broadcast_to", "expand_dims", "full", "ones", "permute_dims", "squeeze", "zeros")
"""They put elements elsewhere, but the same ones for all sizes."""
GATHERS = ("index_tensor", "take")
"""Nobody else checks their indices, where what they count in is of a size that a call decides."""


def _always(_call: relax.Call) -> bool:
    return True


def _arange(call: relax.Call) -> bool:
    start, _, step = (number_of(each) for each in call.args)
    return all(each is not None and not symbols_of(each) for each in (start, step))


def _concat(call: relax.Call) -> bool:
    """Tell whether none but the last operand has an extent that follows from sizes."""
    axis = int(call.attrs.axis)
    shapes = [sized_shape(field) for field in call.args[0].fields]
    return all(shape is not None and not symbols_of(shape[axis]) for shape in shapes[:-1])


def _cumsum(call: relax.Call) -> bool:
    return call.attrs.axis is not None


def _triangle(call: relax.Call) -> bool:
    diagonal = call.args[1] if len(call.args) > 1 else 0
    return not isinstance(number_of(diagonal), Symbolic)


def _take(call: relax.Call) -> bool:
    """Tell whether no size decides which element an index names."""
    axis, shape = call.attrs.axis, sized_shape(call.args[0])
    if axis is None or shape is None:
        return False
    return str(call.attrs.mode) == "fast" or not symbols_of(shape[int(axis)])


RULES: Mapping[str, Rule] = {
    **dict.fromkeys((*ELEMENTWISE, *MOVED), _always),
    "arange": _arange,
    "concat": _concat,
    "cumsum": _cumsum,
    "index_tensor": _always,
    "take": _take,
    "tril": _triangle,
    "triu": _triangle,
}


def is_beginning(call: relax.Call, mod: tvm.IRModule) -> bool:
    """Tell whether a call's result for smaller sizes is the beginning of that for the largest."""
    if op_name(call) == "call_tir":
        return _reads_by_place(mod[call.args[0]])
    rule = RULES.get(op_name(call))
    return rule is not None and rule(call)


def gathers_within(call: relax.Call, numbers: Callable[[relax.Expr], np.ndarray | None]) -> bool:
    """Tell whether a gather's indices are known, and inside of what they count in."""
    if op_name(call) not in GATHERS:
        return True
    data, given = call.args[:2]
    shape = known_shape(data)
    indices = list(given.fields) if isinstance(given, relax.Tuple) else [given]
    if op_name(call) == "take" and shape is not None:
        shape = shape[int(call.attrs.axis) :]
    found = [numbers(each) for each in indices]
    return shape is not None and all(
        each is not None and ((each >= 0) & (each < size)).all()
        for each, size in zip(found, shape, strict=False)
    )


def _reads_by_place(function: tirx.PrimFunc) -> bool:
    """Tell whether a function stores each element once, from places that follow from its own."""
    blocks: list = []
    others: list = []
    structural_walk(function.body, (s_tir.SBlock, blocks.append))
    structural_walk(function.body, (tirx.AssertStmt, others.append))
    inner = [block for block in blocks if block.iter_vars]
    return bool(inner) and not others and all(map(_is_by_place, inner))


def _is_by_place(block) -> bool:
    store, axes = block.body, [each.var for each in block.iter_vars]
    if not isinstance(store, tirx.BufferStore) or len(store.indices) != len(axes):
        return False
    spatial = all(int(each.iter_type) == tirx.IterVar.DataPar for each in block.iter_vars)
    itself = all(index.same_as(axis) for index, axis in zip(store.indices, axes, strict=True))
    places = [place for load in loads_of(store.value) for place in load.indices]
    known = all(variables_of(expr) <= set(axes) for expr in (store.value, *places))
    return spatial and itself and known


def known_shape(expr) -> tuple[int, ...] | None:
    """Return the shape of a tensor for the largest sizes, None where it isn't known."""
    shape = static_shape(expr) or sized_shape(expr)
    return None if shape is None else tuple(map(int, shape))
