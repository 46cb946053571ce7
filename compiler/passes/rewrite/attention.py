"""A product of two activations, both quantized at run time."""

import math

from tvm import relax

from ...partition.graph import op_name, shape_of
from ...partition.layer import Layer
from .emission import Emission
from .gemm import emit_gemm, product


def on_array(emission: Emission, layer: Layer):
    """Emit it in integers; the second operand's columns become rows."""
    left, right = shape_of(layer.x), shape_of(layer.other)
    batch, (m, k), n = math.prod(left[:-2]), left[-2:], right[-1]
    op = product(emission, layer, batch, m, n, k)
    operands = emission.rows(layer, emission.visit_expr(layer.x), (batch, m, k), op.group)
    columns = transposed(emission, emission.visit_expr(layer.other), right)
    operands += emission.rows(layer, columns, (batch, n, k), op.group)
    return emit_gemm(emission, layer, op, operands)


def transposed(emission: Emission, expr, shape):
    """Return the operand with its last two dimensions swapped: columns become rows."""
    axes = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    value = emission.bound(expr)
    if op_name(value) == "permute_dims" and value.attrs.axes is not None:
        inner = [int(a) for a in value.attrs.axes]
        axes, expr = [inner[a] for a in axes], value.args[0]
        if axes == sorted(axes):
            return expr
    return emission.emit(relax.op.permute_dims(expr, axes))
