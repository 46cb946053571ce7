"""Orders the output channels of linear layers, so that fewer array rows meet an outlier.

Outliers of a row are judged among the 128 output channels of a macro-block. Where those have alike
norms, fewer stand out, and fewer array rows of a tile visit ReCoN. What reads the layer gets the
channels in their own order again: through the columns of the next layer's weight where only
element-wise operators lie between, else through a gather behind the layer.
"""

from dataclasses import replace

import numpy as np
from tvm import relax

from ...target.formats import MACRO_BLOCK, WEIGHT_FORMATS
from ..partition.graph import Graph, op_name, shape_of
from ..partition.layer import IN_SOURCE_ORDER, Layer, Partition
from ..quant.recipe import Recipe

ELEMENTWISE = (
    "add", "clip", "divide", "erf", "exp", "multiply", "negative", "nn.gelu", "nn.gelu_tanh",
    "nn.leakyrelu", "nn.relu", "nn.silu", "power", "sigmoid", "sqrt", "subtract", "tanh",
)  # fmt: skip
"""Operators that give the same values whatever the order of the channels."""
GATHER = "puts the channels of an ordered layer back"


def order_outputs(function: relax.Function, part: Partition, recipe: Recipe) -> Partition:
    """Return a partition whose linear layers have the order that a recipe says.

    The gathers that this takes are among its host operators.
    """
    if recipe.output_order == "source":
        return part
    graph = Graph(function)
    variables = {hash(value): var for var, value in graph.order}
    layers = {layer.number: layer for layer in part.layers}
    orderings = dict(part.orderings)
    host = list(part.host)
    for number in layers:
        layer = layers[number]
        row = WEIGHT_FORMATS.get(recipe.for_layer(layer.name).weight_format)
        if layer.kind != "linear" or row is None or not row.has_outliers:
            continue
        order = channel_order(layer.matrix)
        if (np.diff(order) > 0).all():
            continue
        if layer.requantize:
            readers = [reader.number for reader in part.layers if reader.source == number]
        else:
            readers = _folding_readers(graph, variables[hash(layer.root)], part.layers)
        bias = None if layer.bias is None else layer.bias[order]
        layers[number] = replace(layer, weight=layer.matrix[order], bias=bias)
        before = orderings.get(number, IN_SOURCE_ORDER)
        orderings[number] = replace(before, rows=order, folded=bool(readers))
        for reader in readers:
            found, before = layers[reader], orderings.get(reader, IN_SOURCE_ORDER)
            columns = order if before.columns is None else before.columns[order]
            layers[reader] = replace(found, weight=found.matrix[:, order])
            orderings[reader] = replace(before, columns=columns)
        host += [("take", GATHER)] * ((not readers) + (layer.residual is not None))
    return Partition(tuple(layers.values()), tuple(host), orderings)


def channel_order(weight: np.ndarray) -> np.ndarray:
    """Return the output channels of ``(out, in)``: macro-blocks by falling norm.

    Inside a macro-block the source's order stays: sorting there too gathers the outliers in a few
    segments of ReCoN, which then are the slowest.
    """
    order = np.argsort(-np.linalg.norm(weight.astype(np.float64), axis=1), kind="stable")
    starts = range(0, len(order), MACRO_BLOCK)
    return np.concatenate([np.sort(order[start : start + MACRO_BLOCK]) for start in starts])


def _folding_readers(graph: Graph, root, layers: tuple[Layer, ...]) -> list[int]:
    """Return which linear layers read a value, if nothing else sees its channels' order."""
    same_order = {root}
    for var, value in graph.order:
        if var not in same_order and _keeps_order(graph, value, same_order):
            same_order.add(var)
    by_call = {hash(layer.call): layer for layer in layers if layer.kind == "linear"}
    readers = []
    for var in same_order:
        for user, value in graph.users.get(var, []):
            if user in same_order:
                continue
            reader = by_call.get(hash(value))
            if user is None or reader is None or reader.x is None or not reader.x.same_as(var):
                return []
            readers.append(reader.number)
    return readers


def _keeps_order(graph: Graph, value, same_order: set) -> bool:
    """Tell whether a value has the channel order of its operands, all of which have it."""
    if isinstance(value, relax.Var):
        return value in same_order
    if not isinstance(value, relax.Call):
        return False
    tensors = [arg for arg in value.args if not _is_scalar(graph, arg)]
    if not tensors or not all(isinstance(arg, relax.Var) for arg in tensors):
        return False
    if not all(arg in same_order for arg in tensors):
        return False
    if op_name(value) == "reshape":
        return shape_of(value)[-1:] == shape_of(value.args[0])[-1:]
    return op_name(value) in ELEMENTWISE


def _is_scalar(graph: Graph, expr) -> bool:
    constant = graph.constant(expr) if not isinstance(expr, relax.ShapeExpr) else None
    return isinstance(expr, relax.ShapeExpr) or (constant is not None and constant.size == 1)
