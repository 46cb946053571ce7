"""Products of fp32 activations with weights that the source gave as integers and scales.

The integers go to the array as they are, activations are quantized at run time as in any layer, and
the host multiplies by the source's scales, which fp16 wouldn't hold.
"""

import math
from collections.abc import Callable

import numpy as np
from tvm import relax

from .dequantized import Weights, weights
from .graph import Graph, op_name
from .integers import INTEGER_LAYER_OF, is_integer
from .layer import Layer

CODES = ("int8", "uint8")
"""Types of the integers."""


def is_given(graph: Graph, call) -> bool:
    """Tell whether a product's weights are integers of the source."""
    if str(call.args[1].ty.dtype) != "float32":
        return False
    found = weights(graph.value, call.args[1])
    return found is not None and str(found.codes.dtype) in CODES


def fits(graph: Graph, call) -> bool:
    """Tell whether the array can multiply a product's given weights."""
    found = _given(graph, call)
    integers = _centered(found)
    if integers.min(initial=0) < -128 or integers.max(initial=0) > 127:
        return False
    return op_name(call) == "matmul" or bool((_by_channel(found) == found.scale).all())


def matmul(graph: Graph, call, number: int) -> Layer:
    """Return a product with given weights, of one scale per output channel or of blocks."""
    found = _given(graph, call)
    integers, x = _centered(found).astype(np.int8), call.args[0]
    length, out = integers.shape
    block = _block(found.scale)
    if block == length:
        return Layer(
            number, "given_linear", "", call, call, x, absorbed=(call,),
            integers=np.ascontiguousarray(integers.T), scale=found.scale[0],
        )  # fmt: skip
    apart = integers.reshape(-1, block, out).swapaxes(1, 2)
    return Layer(
        number, "given_blocks", "", call, call, x, groups=length // block, absorbed=(call,),
        integers=np.ascontiguousarray(apart).reshape(-1, block, 1, 1),
        scale=np.ascontiguousarray(found.scale[::block]),
    )  # fmt: skip


def conv2d(graph: Graph, call, number: int) -> Layer:
    """Return a convolution with given weights."""
    found = _given(graph, call)
    return Layer(
        number, "given_conv2d", "", call, call, call.args[0], groups=int(call.attrs.groups),
        absorbed=(call,), integers=np.ascontiguousarray(_centered(found).astype(np.int8)),
        scale=_by_channel(found).reshape(-1),
    )  # fmt: skip


GIVEN_LAYER_OF: dict[str, Callable[[Graph, relax.Call, int], Layer]] = {
    "matmul": matmul,
    "nn.conv2d": conv2d,
}
"""As `partition.LAYER_OF`, of products for which `is_given` holds."""


def source_products(function: relax.Function) -> list[relax.Call]:
    """Return the products of a function in which integers of the source are multiplied."""
    graph = Graph(function)
    calls = [value for _, value in graph.order if op_name(value) in INTEGER_LAYER_OF]
    return [call for call in calls if is_integer(call) or is_given(graph, call)]


def _given(graph: Graph, call) -> Weights:
    found = weights(graph.value, call.args[1])
    if found is None:
        raise TypeError(f"{op_name(call)} has no weights that the source gave")
    return found


def _centered(found: Weights) -> np.ndarray:
    return found.codes.astype(np.int32) - found.zero


def _by_channel(found: Weights) -> np.ndarray:
    return found.scale[:, :1, :1, :1]


def _block(scale: np.ndarray) -> int:
    """Return how many inputs ``(inputs, out)`` share a scale, at least."""
    changes = np.flatnonzero((scale[1:] != scale[:-1]).any(1)) + 1
    return math.gcd(len(scale), *map(int, changes))
