"""Sums over two operands in Einstein's notation, as one matrix product."""

import math

import numpy as np
from tvm import relax

from ...partition.graph import shape_of, static_shape
from .matmuls import product
from .registry import Making, rewrites


@rewrites("einsum")
def einsum(making: Making, call: relax.Call, args: list):
    """Of two operands each letter once, and every letter that is summed in both."""
    text = str(call.attrs.subscripts).replace(" ", "")
    operands = making.graph.value(call.args[0])
    sides, _, result = text.partition("->")
    letters = sides.split(",")
    if not isinstance(operands, relax.Tuple) or len(letters) != 2 or "->" not in text:
        return None
    fields = list(operands.fields)
    simple = all(each.isalpha() and len(set(each)) == len(each) for each in [*letters, result])
    shapes = [static_shape(each) for each in fields]
    if not simple or any(shape is None or 0 in shape for shape in shapes):
        return None
    if any(str(each.ty.dtype) != "float32" for each in fields):
        return None
    first, second = letters
    both = [c for c in first if c in second]
    batch, summed = [c for c in both if c in result], [c for c in both if c not in result]
    alone = [[c for c in side if c not in both] for side in letters]
    if not summed or set(result) != {*batch, *alone[0], *alone[1]}:
        return None
    sizes: dict[str, int] = {}
    for side, shape in zip(letters, shapes, strict=True):
        sizes |= dict(zip(side, shape or (), strict=True))
    new = args[0].fields if isinstance(args[0], relax.Tuple) else fields
    orders = ([batch, alone[0], summed], [batch, summed, alone[1]])
    found = product(making, *(
        _matrix(making, field, new[side], letters[side], orders[side], sizes)
        for side, field in enumerate(fields)
    ))  # fmt: skip
    if found is None:
        return None
    order = [*batch, *alone[0], *alone[1]]
    y = making.emit(relax.op.reshape(making.emit(found), [sizes[c] for c in order]))
    return relax.op.permute_dims(y, [order.index(c) for c in result])


def _matrix(making: Making, source, x, side: str, order: list[list[str]], sizes: dict[str, int]):
    """Return an operand as a stack of matrices, an array where it's constant."""
    axes = [side.index(c) for group in order for c in group]
    shape = [math.prod(sizes[c] for c in group) for group in order]
    shape = shape if order[0] else shape[1:]
    constant = making.graph.constant(source)
    if constant is not None:
        return np.ascontiguousarray(constant.transpose(axes)).reshape(shape)
    assert len(shape_of(x)) == len(axes)
    return making.emit(relax.op.reshape(making.emit(relax.op.permute_dims(x, axes)), shape))
