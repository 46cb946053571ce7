"""Products of groups of rows with a matrix each, as mixtures of experts have them."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .registry import arguments, constant_of, converter, refused, shape_at


@converter("_grouped_mm.default", "grouped_mm_fallback.default")
def grouped_mm(node, importer) -> relax.Var:
    """Multiply all rows by each matrix and keep those of its group.

    How many rows a group has is known at run time only, and a program's shapes while compiling; so
    the array does as many products as there are matrices, each of weights that stay where they are.
    """
    x, stack, ends, *rest = arguments(node, importer, None, None)
    if any(each is not None for each in rest[:1]):
        raise refused(node, "a bias is not supported")
    emit = importer.block_builder.emit
    shapes = shape_at(node, x), shape_at(node, stack)
    if ends is None or [len(shape) for shape in shapes] != [2, 3]:
        raise refused(node, "allowed: rows (2 dimensions) by matrices (3 dimensions) with offs")
    rows, experts = shapes[0][0], shapes[1][0]
    place = relax.const(np.arange(rows).reshape(rows, 1), str(ends.ty.dtype))
    result = relax.const(np.zeros((rows, shapes[1][2]), np.float32))
    constant = constant_of(node.args[1])
    # From the last group on: a row is of the first one whose end is behind it.
    for expert in reversed(range(experts)):
        if constant is not None:
            matrix = relax.const(np.ascontiguousarray(constant[expert]))
        else:
            part = emit(op.strided_slice(stack, [0], [expert], [expert + 1]))
            matrix = emit(op.squeeze(part, axis=[0]))
        end = emit(op.strided_slice(ends, [0], [expert], [expert + 1]))
        mine = emit(op.less(place, emit(op.reshape(end, (1, 1)))))
        result = emit(op.where(mine, emit(op.matmul(x, matrix)), result))
    return result


@converter("histc.default")
def histc(node, importer) -> relax.Var:
    """Count how many numbers are in each of equal intervals; the last one has its upper end."""
    x, bins, low, high = arguments(node, importer, 100, 0, 0)
    if low == high:
        raise refused(node, "its bounds must be given: they depend on the values otherwise")
    emit = importer.block_builder.emit
    flat = emit(op.reshape(x, (-1, 1)))

    def number(value):
        return relax.const(value, str(x.ty.dtype))

    inside = emit(op.logical_and(
        emit(op.greater_equal(flat, number(low))), emit(op.less_equal(flat, number(high)))
    ))  # fmt: skip
    scaled = emit(op.multiply(emit(op.subtract(flat, number(low))), number(bins / (high - low))))
    bin_of = emit(op.minimum(emit(op.floor(scaled)), number(bins - 1)))
    same = emit(op.equal(bin_of, relax.const(np.arange(bins), str(x.ty.dtype))))
    counted = emit(op.astype(emit(op.logical_and(same, inside)), str(x.ty.dtype)))
    return emit(op.sum(counted, axis=[0]))
