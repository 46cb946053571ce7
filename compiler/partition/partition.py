"""Chooses what the array runs: GEMM-like operators and what can be fused behind them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from ..names import digest
from .constraints import ANCHORS, CONSTRAINTS, HOST_REASONS, IN_FP32, OTHER_REASON
from .dequantized import weights
from .fusion import fused, requantized
from .given import GIVEN_LAYER_OF, is_given
from .graph import Graph, function_names, op_name
from .integers import INTEGER_LAYER_OF, is_integer
from .layer import Layer, Partition

Partitions = dict[tvm.ir.GlobalVar, Partition]
"""Of a module's functions."""


def _none(_name: str) -> bool:
    return False


def partition_module(
    mod: tvm.IRModule, names: dict[str, str], in_fp32: Callable[[str], bool] = _none
) -> Partitions:
    """Return the partitions of a module's functions, each of whose layers has its own number.

    Parameters
    ----------
    names : dict of str to str
        Parameter names by `digest` of their bytes, from the frontend.
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
    names: dict[str, str],
    first: int = 0,
    in_fp32: Callable[[str], bool] = _none,
) -> Partition:
    """Return what the array runs of a function, and why the rest runs on the host.

    Parameters
    ----------
    names : dict of str to str
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
    kinds: Counter[str] = Counter()
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
        called.append(_source_name(graph, layer, names) or f"{layer.kind}{kinds[layer.kind]}")
        kinds[layer.kind] += 1
        if in_fp32(called[-1]):
            host.append((name, IN_FP32))
            continue
        layers.append(replace(layer, name=called[-1]))
        taken |= {hash(expr) for expr in layer.absorbed}
    for _, value in graph.order:
        name = op_name(value)
        if name and name not in ANCHORS and hash(value) not in taken:
            if graph.constant(value) is None and name not in ("call_tir", "call_pure_packed"):
                host.append((name, HOST_REASONS.get(name, OTHER_REASON)))
            elif name == "call_tir":
                host.append((str(value.args[0].name_hint), OTHER_REASON))
    return Partition(requantized(graph, layers), tuple(host), names=tuple(called))


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


def _source_name(graph: Graph, layer: Layer, names: dict[str, str]) -> str:
    """Return the layer's name in the source model: that of its weight, else of its bias."""
    for value in _named(graph, layer):
        found = names.get(digest(value))
        if found and "." in found:
            found = found.removesuffix("_quantized")
            return found.removesuffix(".weight").removesuffix(".bias")
    return ""


def _named(graph: Graph, layer: Layer) -> Iterator[np.ndarray]:
    """Yield the constants that a layer can be named by."""
    operand = layer.call.args[1]
    values = (graph.constant(operand, copy=False), layer.weight, layer.integers, layer.bias)
    yield from (value for value in values if value is not None)
    if layer.integers is not None:
        # Products take unsigned codes as signed ones, 128 lower.
        yield from (value.view(np.uint8) ^ 128 for value in (layer.integers, layer.integers.T))
    codes = weights(graph.value, operand)
    if codes is not None:
        yield from (codes.codes, codes.codes.T)
