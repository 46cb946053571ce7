"""What follows a product and runs with it: each step takes one operator into a layer.

A step returns the layer with the operator in it, None where the machine can't do it at this place.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax

from .graph import Graph, op_name, shape_of, sized_shape
from .layer import Layer

Step = Callable[[Graph, relax.Var, relax.Call, Layer], Layer | None]
"""Called as ``step(graph, var, call, layer)``; `var` is the layer's result so far."""


def fused(graph: Graph, var: relax.Var, layer: Layer, taken: set[int]) -> Layer:
    """Follow the single user of the result as long as it is something the vector unit does.

    The sum of two layers belongs to the first one, which has `taken` it.
    """
    while (use := graph.only_user(var)) is not None:
        user, value = use
        step = STEPS.get(op_name(value))
        found = step(graph, var, value, layer) if step and hash(value) not in taken else None
        if found is None:
            break
        absorbed = (*layer.absorbed, value)
        if op_name(value) == "nn.batch_norm":
            # Of its results only the first one is read.
            user, value = graph.only_user(user)
            absorbed = (*absorbed, value)
        var, layer = user, replace(found, root=value, absorbed=absorbed)
    return layer


def reshape(_graph: Graph, var, call, layer: Layer) -> Layer | None:
    """Take a view of rows; of a convolution's image one with or without its height of 1."""
    if layer.kind != "conv2d":
        return layer
    before, after = shape_of(var), shape_of(call)
    return layer if _without_height(before) == _without_height(after) else None


def _without_height(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an image of height 1 as that of a signal, others as they are."""
    return (*shape[:2], shape[3]) if len(shape) == 4 and shape[2] == 1 else shape


def add(graph: Graph, var, call, layer: Layer) -> Layer | None:
    """Take a constant as bias, another activation of the same shape as residual."""
    if _clamped(layer) or layer.residual is not None:
        return None
    other = call.args[1] if call.args[0].same_as(var) else call.args[0]
    constant = graph.constant(other)
    if constant is not None:
        bias = None if layer.bias is not None else _bias(constant, call, layer)
        return None if bias is None else replace(layer, bias=bias)
    same = sized_shape(other) == sized_shape(call) == sized_shape(var) is not None
    return replace(layer, residual=other) if same and not other.same_as(var) else None


def relu(_graph: Graph, _var, _call, layer: Layer) -> Layer | None:
    """Take a ReLU as lower bound if there is none yet."""
    return replace(layer, low=0.0) if layer.low is None else None


def clip(_graph: Graph, _var, call, layer: Layer) -> Layer | None:
    """Take constant bounds if there are none yet."""
    low, high = number(call.args[1]), number(call.args[2])
    if _clamped(layer) or low is None or high is None:
        return None
    return replace(layer, low=low, high=high)


def maximum(graph: Graph, var, call, layer: Layer) -> Layer | None:
    """Take a constant as lower bound if there is none yet, and none above that is smaller."""
    low = _bound(graph, var, call)
    if low is None or layer.low is not None or (layer.high is not None and low > layer.high):
        return None
    return replace(layer, low=low)


def minimum(graph: Graph, var, call, layer: Layer) -> Layer | None:
    """Take a constant as upper bound if there is none yet, and none below that is larger."""
    high = _bound(graph, var, call)
    if high is None or layer.high is not None or (layer.low is not None and high < layer.low):
        return None
    return replace(layer, high=high)


def _bound(graph: Graph, var, call) -> float | None:
    """Return the finite constant that an operator compares all of a result with."""
    value = graph.constant(call.args[1] if call.args[0].same_as(var) else call.args[0])
    if value is None or value.size != 1 or sized_shape(call) != sized_shape(var):
        return None
    return float(value.reshape(())) if np.isfinite(value).all() else None


def batch_norm(graph: Graph, var, call, layer: Layer) -> Layer | None:
    """Fold an inference batch norm into weight and bias, in float64 before one rounding."""
    if layer.kind != "conv2d" or layer.residual is not None or _clamped(layer):
        return None
    if not call.args[0].same_as(var) or bool(getattr(call.attrs, "training", False)):
        return None
    user = graph.only_user(next(v for v, e in graph.order if e.same_as(call)))
    if user is None or not isinstance(user[1], relax.TupleGetItem) or user[1].index != 0:
        return None
    found = [graph.constant(arg) for arg in call.args[1:5]]
    constants = [value for value in found if value is not None]
    if len(constants) < len(found) or int(call.attrs.axis) != 1:
        return None
    gamma, beta, mean, variance = (c.astype(np.float64) for c in constants)
    factor = 1.0 / np.sqrt(variance + float(call.attrs.epsilon))
    factor = factor * gamma if call.attrs.scale else factor
    shift = -mean * factor + (beta if call.attrs.center else 0.0)
    old_bias = 0.0 if layer.bias is None else layer.bias.astype(np.float64)
    return replace(
        layer,
        bias=(old_bias * factor + shift).astype(np.float32),
        weight=(layer.matrix * factor[:, None, None, None]).astype(np.float32),
    )


STEPS: dict[str, Step] = {
    "reshape": reshape,
    "squeeze": reshape,
    "expand_dims": reshape,
    "add": add,
    "nn.relu": relu,
    "clip": clip,
    "maximum": maximum,
    "minimum": minimum,
    "nn.batch_norm": batch_norm,
}


def requantized(graph: Graph, layers: list[Layer]) -> tuple[Layer, ...]:
    """Let the result of linear layers that only linear layers read leave as int8."""
    linear = {hash(layer.call): layer for layer in layers if layer.kind == "linear"}
    variable = {hash(value): var for var, value in graph.order}
    source: dict[int, int] = {}
    for layer in linear.values():
        var, shape = variable[hash(layer.root)], shape_of(layer.root)
        users = graph.users.get(var, [])
        readers = [linear.get(hash(value)) for user, value in users if user is not None]
        known = [reader for reader in readers if reader is not None and reader.x.same_as(var)]
        if users and len(known) == len(users) and shape[-1] == len(layer.matrix):
            source |= {reader.number: layer.number for reader in known}
    leaving = set(source.values())
    return tuple(
        replace(layer, requantize=layer.number in leaving, source=source.get(layer.number))
        for layer in layers
    )


def _clamped(layer: Layer) -> bool:
    return layer.low is not None or layer.high is not None


def number(expr) -> float | None:
    """Return the value of a number among a call's arguments, None of anything else."""
    value = getattr(expr, "value", None)
    return None if value is None else float(getattr(value, "value", value))


def _bias(constant: np.ndarray, call, layer: Layer) -> np.ndarray | None:
    """Return a constant that repeats along everything but the output channels, one for each."""
    if layer.weight is None:
        return None
    shape = shape_of(call)
    axis = 1 if layer.kind == "conv2d" else len(shape) - 1
    channels = shape[axis]
    aligned = (1,) * (len(shape) - constant.ndim) + constant.shape
    if channels != layer.weight.shape[0] or len(aligned) != len(shape):
        return None
    if aligned[axis] not in (1, channels):
        return None
    if any(dim != 1 for index, dim in enumerate(aligned) if index != axis):
        return None
    return np.broadcast_to(constant.reshape(-1), (channels,)).astype(np.float32)
