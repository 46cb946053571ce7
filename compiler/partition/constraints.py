"""What the array asks of a product, and why the rest of a model runs on the host.

Every constraint is a function whose docstring is the reason a user reads when it fails.
"""

import math

from ..symbolic import symbols_of
from .given import fits, is_given
from .graph import Graph, shape_of, sized_shape
from .integers import EXACT, is_integer, largest_sum

ANCHORS = ("matmul", "nn.conv2d")
"""Operators that the array is for; all others run on the host."""
PRODUCTS = (
    *ANCHORS,
    "nn.conv1d",
    "nn.conv3d",
    "nn.conv1d_transpose",
    "nn.conv2d_transpose",
    "nn.conv3d_transpose",
    "nn.attention",
    "nn.attention_bias",
    "einsum",
)
"""Operators whose work is multiply-accumulates: strict compilation refuses them on the host."""


LONGEST_SIDE = (1 << 16) - 1
"""Pixels that the gather's operands count."""


def bounded_shapes(_graph: Graph, call) -> bool:
    """all shapes must be known while compiling, or follow from sizes that have a bound"""
    return all(sized_shape(expr) is not None for expr in (call, *call.args))


def known_image(_graph: Graph, call) -> bool:
    """of a convolution only the batch may be a size that a call decides"""
    return not any(symbols_of(shape_of(expr)[1:]) for expr in (call, *call.args))


def number_types(_graph: Graph, call) -> bool:
    """operands must be float32, or int8 with an int32 result"""
    return is_integer(call) or all(str(arg.ty.dtype) == "float32" for arg in call.args)


def not_constant_left(graph: Graph, call) -> bool:
    """a matmul whose left operand is constant has no rows of activations to stream"""
    return graph.constant(call.args[0]) is None


def matrix_operands(graph: Graph, call) -> bool:
    """a matmul's operands must be matrices or stacks of them"""
    left, right = shape_of(call.args[0]), shape_of(call.args[1])
    if len(right) == 2 and graph.constant(call.args[1]) is not None:
        return len(left) >= 1
    return len(left) >= 2 and len(right) >= 2


def equal_batches(graph: Graph, call) -> bool:
    """a matmul of two activations must have equal batch dimensions (no broadcast)"""
    if len(shape_of(call.args[1])) == 2 and graph.constant(call.args[1]) is not None:
        return True
    return shape_of(call.args[0])[:-2] == shape_of(call.args[1])[:-2]


def constant_kernel(graph: Graph, call) -> bool:
    """the weight of a convolution must be a constant"""
    return graph.constant(call.args[1]) is not None


def nchw_layout(_graph: Graph, call) -> bool:
    """a convolution must have NCHW data and an OIHW kernel"""
    attrs = call.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    return layouts == ("NCHW", "OIHW", "NCHW")


def short_sides(_graph: Graph, call) -> bool:
    """sides, strides and pads of a convolution must be below 65,536: the gather has 16 bits each"""
    attrs = call.attrs
    sides = [side for expr in (call, *call.args) for side in shape_of(expr)[2:]]
    return max(map(int, [*sides, *attrs.strides, *attrs.dilation, *attrs.padding])) <= LONGEST_SIDE


def exact_sums(graph: Graph, call) -> bool:
    """sums of given integers must stay within 24 bits, as far as fp32 is exact"""
    return not is_integer(call) or largest_sum(graph, call) <= EXACT


def known_integers(graph: Graph, call) -> bool:
    """a product of given integers must have shapes that are known while compiling"""
    given = is_integer(call) or is_given(graph, call)
    return not given or not any(symbols_of(shape_of(each)) for each in (call, *call.args))


def given_weights(graph: Graph, call) -> bool:
    """weights given as integers must have 8 bits without zero points; a kernel a scale a channel"""
    return not is_given(graph, call) or fits(graph, call)


def not_empty(_graph: Graph, call) -> bool:
    """a tensor without elements has nothing to compute"""
    return all(math.prod(shape_of(expr)) > 0 for expr in (call, *call.args))


CONSTRAINTS = {
    "matmul": (
        bounded_shapes,
        number_types,
        not_constant_left,
        matrix_operands,
        equal_batches,
        known_integers,
        given_weights,
        not_empty,
    ),
    "nn.conv2d": (
        bounded_shapes,
        known_image,
        number_types,
        constant_kernel,
        nchw_layout,
        short_sides,
        known_integers,
        exact_sums,
        given_weights,
        not_empty,
    ),
}

HOST_REASONS = {
    **dict.fromkeys(
        ("nn.conv1d", "nn.conv3d", "nn.conv1d_transpose", "nn.conv2d_transpose"),
        "only float32, a constant weight, known shapes and channels before pixels become a conv2d",
    ),
    "nn.conv3d_transpose": "a transposed convolution of three dimensions has no product made of it",
    "nn.attention": "only float32 of known shapes, without a window, becomes two matmuls",
    "einsum": "only two float32 operands, each letter once in each, become a matmul",
}
OTHER_REASON = "not a matrix product"
IN_FP32 = "the recipe keeps this layer in fp32"
