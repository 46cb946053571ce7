"""Products of integers that a source model gave: int8 operands, an int32 result.

They are layers of kinds of their own: nothing is quantized for them and nothing is fused, because
what follows is the source's own arithmetic, which isn't the vector unit's.
"""

from collections.abc import Callable

import numpy as np
from tvm import relax

from .graph import Graph, op_name, shape_of
from .layer import Layer

INTEGER_KINDS = ("int_linear", "int_conv2d", "int_matmul")
"""Kinds of layers whose integers are the source's."""
LOWEST = 128
"""Largest magnitude of an int8."""
EXACT = 1 << 24
"""Up to this magnitude fp32 holds every integer."""


def is_integer(call) -> bool:
    """Tell whether a product multiplies int8 by int8 into int32."""
    operands = {str(arg.ty.dtype) for arg in call.args}
    return operands == {"int8"} and str(call.ty.dtype) == "int32"


def matmul(graph: Graph, call, number: int) -> Layer:
    """Return a product of integers with a constant matrix, or with others known at run time."""
    left, right = call.args
    weight = graph.constant(right)
    if weight is None:
        return Layer(number, "int_matmul", "", call, call, left, right, absorbed=(call,))
    integers = np.ascontiguousarray(weight.T)
    return Layer(number, "int_linear", "", call, call, left, integers=integers, absorbed=(call,))


def conv2d(graph: Graph, call, number: int) -> Layer:
    """Return a convolution of integers."""
    integers, groups = graph.constant(call.args[1]), int(call.attrs.groups)
    return Layer(
        number, "int_conv2d", "", call, call, call.args[0], integers=integers, groups=groups,
        absorbed=(call,),
    )  # fmt: skip


INTEGER_LAYER_OF: dict[str, Callable[[Graph, relax.Call, int], Layer]] = {
    "matmul": matmul,
    "nn.conv2d": conv2d,
}
"""As `partition.LAYER_OF`, of products for which `is_integer` holds."""


def largest_sum(graph: Graph, call) -> int:
    """Return a bound for the magnitude of a product's sums, whatever its activations are."""
    weight = graph.constant(call.args[1], copy=False)
    if weight is None:
        return LOWEST * LOWEST * shape_of(call.args[0])[-1]
    axes = (0,) if op_name(call) == "matmul" else (1, 2, 3)
    return LOWEST * int(np.abs(weight.astype(np.int64)).sum(axes).max(initial=0))
