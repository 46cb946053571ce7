"""Chooses what the array runs: GEMM-like operators and what can be fused behind them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from ..names import CHECK, Names
from .constraints import ANCHORS, CONSTRAINTS, HOST_REASONS, IN_FP32, OTHER_REASON
from .fusion import fused, requantized
from .given import GIVEN_LAYER_OF, is_given
from .graph import Graph, function_names, op_name
from .integers import INTEGER_LAYER_OF, is_integer
from .layer import Layer, Partition
from .naming import Naming

Partitions = dict[tvm.ir.GlobalVar, Partition]
"""Of a module's functions."""


def _none(_name: str) -> bool:
    return False


def partition_module(
    mod: tvm.IRModule, names: Names, in_fp32: Callable[[str], bool] = _none
) -> Partitions:
    """Return the partitions of a module's functions, each of whose layers has its own number.

    Parameters
    ----------
    names : Names
        Of parameters, from the frontend.
    in_fp32 : callable
        As `partition` takes it.
    """
    parts: Partitions = {}
    for gv in function_names(mod):
        before = sum(len(part.layers) for part in parts.values())
        parts[gv] = partition(mod[gv], names, before, in_fp32)
    return parts


def partition(
    function: relax.Function,
    names: Names,
    first: int = 0,
    in_fp32: Callable[[str], bool] = _none,
) -> Partition:
    """Return what the array runs of a function, and why the rest runs on the host.

    A function without parameters, which gives the first value of a state, has no such rest.

    Parameters
    ----------
    names : Names
        As `partition_module` takes them.
    first : int
        Number of the first layer.
    in_fp32 : callable
        Tells by its name whether a layer stays on the host as it is.
    """
    graph = Graph(function)
    layers: list[Layer] = []
    host: list[tuple[str, str]] = []
    taken: set[int] = set()
    called: list[str] = []
    naming = Naming(graph, names)
    for var, call in graph.order:
        name = op_name(call)
        if name not in ANCHORS:
            continue
        failed = next((c for c in CONSTRAINTS[name] if not c(graph, call)), None)
        if failed is not None:
            host.append((name, failed.__doc__ or failed.__name__))
            continue
        if is_integer(call):
            layer = INTEGER_LAYER_OF[name](graph, call, first + len(layers))
        elif is_given(graph, call):
            layer = GIVEN_LAYER_OF[name](graph, call, first + len(layers))
        else:
            layer = fused(graph, var, LAYER_OF[name](graph, call, first + len(layers)), taken)
        called.append(naming(layer))
        if in_fp32(called[-1]):
            host.append((name, IN_FP32))
            continue
        layers.append(replace(layer, name=called[-1]))
        taken |= {hash(expr) for expr in layer.absorbed}
    host += _others(graph, taken) if function.params else []
    return Partition(requantized(graph, layers), tuple(host), names=tuple(called))


def _others(graph: Graph, taken: set[int]) -> list[tuple[str, str]]:
    """Return what no layer has taken and is no product, with reasons; checks are no operators."""
    host = []
    for _, value in graph.order:
        name = op_name(value)
        if not name or name in ANCHORS or hash(value) in taken:
            continue
        if name == "call_tir":
            called = str(value.args[0].name_hint)
            host += [] if called.startswith(CHECK) else [(called, OTHER_REASON)]
        elif graph.constant(value) is None and name != "call_pure_packed":
            host.append((name, HOST_REASONS.get(name, OTHER_REASON)))
    return host


def matmul(graph: Graph, call, number: int) -> Layer:
    """Return a product with a constant matrix, or of two activations, alone."""
    left, right = call.args
    weight = graph.constant(right)
    if weight is None or weight.ndim > 2:
        return Layer(number, "attention", "", call, call, left, right, absorbed=(call,))
    weight = np.ascontiguousarray(weight.T)
    return Layer(number, "linear", "", call, call, left, weight=weight, absorbed=(call,))


def conv2d(graph: Graph, call, number: int) -> Layer:
    """Return a convolution alone."""
    image, kernel = call.args
    weight, groups = graph.constant(kernel), int(call.attrs.groups)
    return Layer(
        number, "conv2d", "", call, call, image, weight=weight, groups=groups, absorbed=(call,)
    )


LAYER_OF: dict[str, Callable[[Graph, relax.Call, int], Layer]] = {
    "matmul": matmul,
    "nn.conv2d": conv2d,
}
"""The layer of an operator that keeps its constraints, before anything is fused."""
