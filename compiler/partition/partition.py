"""Chooses what the array runs: GEMM-like operators and what can be fused behind them."""

import numpy as np
from tvm import relax

from ..names import digest
from .constraints import ANCHORS, CONSTRAINTS, HOST_REASONS, OTHER_REASON
from .fusion import fused
from .graph import Graph, op_name, static_shape
from .layer import Layer, Partition


def partition(function: relax.Function, names: dict[str, str]) -> Partition:
    """Return what the array runs of a function, and why the rest runs on the host.

    Parameters
    ----------
    names : dict of str to str
        Parameter names by `digest` of their bytes, from the frontend.
    """
    graph = Graph(function)
    layers: list[Layer] = []
    host: list[tuple[str, str]] = []
    counters: dict[str, int] = {}
    taken: set[int] = set()
    for var, value in graph.order:
        name = op_name(value)
        if name not in ANCHORS:
            continue
        failed = next((c for c in CONSTRAINTS[name] if not c(graph, value)), None)
        if failed is not None:
            host.append((name, failed.__doc__))
            continue
        layers.append(_layer(graph, var, value, name, names, counters, taken))
        taken |= {hash(expr) for expr in layers[-1].absorbed}
    _mark_requantized(graph, layers)
    for _, value in graph.order:
        name = op_name(value)
        if name and name not in ANCHORS and hash(value) not in taken:
            if graph.constant(value) is None and name not in ("call_tir", "call_pure_packed"):
                host.append((name, HOST_REASONS.get(name, OTHER_REASON)))
            elif name == "call_tir":
                host.append((str(value.args[0].name_hint), OTHER_REASON))
    return Partition(layers, host)


def _layer(graph: Graph, var, call, name, names, counters, taken) -> Layer:
    weight = graph.constant(call.args[1])
    if name == "nn.conv2d":
        layer = Layer("conv2d", "", call, call, call.args[0], weight=weight)
    elif weight is not None:
        layer = Layer("linear", "", call, call, call.args[0], weight=np.ascontiguousarray(weight.T))
    else:
        layer = Layer("attention", "", call, call, call.args[0], other=call.args[1])
    layer.absorbed.append(call)
    layer = fused(graph, var, layer, taken)
    number = counters[layer.kind] = counters.get(layer.kind, -1) + 1
    layer.name = _name(layer, weight, names) or f"{layer.kind}{number}"
    return layer


def _name(layer: Layer, weight, names) -> str:
    """Return the layer's name in the source model: that of its weight, else of its bias."""
    for value in (weight, layer.weight, layer.bias):
        found = names.get(digest(value)) if value is not None else None
        if found and "." in found:
            return found.removesuffix(".weight").removesuffix(".bias")
    return ""


def _mark_requantized(graph: Graph, layers: list[Layer]) -> None:
    """Mark linear layers whose result only linear layers read: it can leave as int8."""
    calls = {hash(layer.call): layer for layer in layers if layer.kind == "linear"}
    variable = {hash(value): var for var, value in graph.order}
    for layer in calls.values():
        var, shape = variable[hash(layer.root)], static_shape(layer.root)
        users = graph.users.get(var, [])
        readers = [calls.get(hash(value)) for user, value in users if user is not None]
        whole = len(readers) == len(users) and all(
            reader is not None and reader.x.same_as(var) for reader in readers
        )
        layer.requantize = bool(users) and whole and shape[-1] == layer.weight.shape[0]
        if layer.requantize:
            for reader in readers:
                reader.source = layer
