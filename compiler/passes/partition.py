"""Chooses what the array runs: GEMM-like operators and what can be fused behind them.

Every constraint is a function whose docstring is the reason a user reads when it fails.
"""

import numpy as np
from tvm import relax

from ..names import digest
from .graph import Graph, op_name, static_shape
from .layer import Layer, Partition

ANCHORS = ("matmul", "nn.conv2d")
"""Operators that the array is for; all others run on the host."""
PRODUCTS = (
    *ANCHORS,
    "nn.conv1d",
    "nn.conv3d",
    "nn.conv1d_transpose",
    "nn.conv2d_transpose",
    "nn.attention",
    "einsum",
)
"""Operators whose work is multiply-accumulates: strict compilation refuses them on the host."""


def static_shapes(graph: Graph, call) -> bool:
    """all shapes must be known while compiling"""
    return static_shape(call) is not None and all(
        static_shape(arg) is not None for arg in call.args
    )


def fp32_operands(graph: Graph, call) -> bool:
    """operands must be float32"""
    return all(str(arg.ty.dtype) == "float32" for arg in call.args)


def not_constant_left(graph: Graph, call) -> bool:
    """a constant left operand of a matmul has no rows of activations to stream"""
    return graph.constant(call.args[0]) is None


def matrix_operands(graph: Graph, call) -> bool:
    """a matmul's operands must be matrices or stacks of them, a constant right one a matrix"""
    left, right = static_shape(call.args[0]), static_shape(call.args[1])
    if graph.constant(call.args[1]) is not None:
        return len(left) >= 1 and len(right) == 2
    return len(left) >= 2 and len(right) >= 2


def equal_batches(graph: Graph, call) -> bool:
    """a matmul of two activations must have equal batch dimensions (no broadcast)"""
    if graph.constant(call.args[1]) is not None:
        return True
    return static_shape(call.args[0])[:-2] == static_shape(call.args[1])[:-2]


def constant_kernel(graph: Graph, call) -> bool:
    """the weight of a convolution must be a constant"""
    return graph.constant(call.args[1]) is not None


def nchw_layout(graph: Graph, call) -> bool:
    """a convolution must have NCHW data and an OIHW kernel"""
    attrs = call.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    return layouts == ("NCHW", "OIHW", "NCHW")


def not_empty(graph: Graph, call) -> bool:
    """a tensor without elements has nothing to compute"""
    return all(int(np.prod(static_shape(expr))) > 0 for expr in (call, *call.args))


CONSTRAINTS = {
    "matmul": (
        static_shapes,
        fp32_operands,
        not_constant_left,
        matrix_operands,
        equal_batches,
        not_empty,
    ),
    "nn.conv2d": (static_shapes, fp32_operands, constant_kernel, nchw_layout, not_empty),
}

HOST_REASONS = {
    "nn.softmax": "the vector unit has no exponential",
    "nn.gelu": "the vector unit has no error function",
    "nn.layer_norm": "the vector unit has no mean over a row",
    "nn.conv1d": "the array's gather is two-dimensional; only conv2d is lowered",
    "nn.conv2d_transpose": "a transposed convolution isn't a gather of its input",
    "nn.attention": "write attention as matmul, softmax, matmul to put it on the array",
}
OTHER_REASON = "not a matrix product"


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
    _fuse(graph, var, layer, taken)
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


def _fuse(graph: Graph, var, layer: Layer, taken: set[int]) -> None:
    """Follow the single user of the result as long as it is something the vector unit does.

    The sum of two layers belongs to the first one, which has `taken` it.
    """
    while True:
        use = graph.only_user(var)
        if use is None:
            return
        user, value = use
        if hash(value) in taken or not _absorb(graph, var, value, layer):
            return
        layer.absorbed.append(value)
        if op_name(value) == "nn.batch_norm":
            use = graph.only_user(user)
            user, value = use
            layer.absorbed.append(value)
        var, layer.root = user, value


def _absorb(graph: Graph, var, value, layer: Layer) -> bool:
    """Take one operator into the layer if the machine can do it at this place."""
    name = op_name(value)
    clean = layer.residual is None and layer.low is None and layer.high is None
    if name == "reshape" and layer.kind != "conv2d":
        return True
    if name == "add" and layer.low is None and layer.high is None:
        other = value.args[1] if value.args[0].same_as(var) else value.args[0]
        constant = graph.constant(other)
        if constant is not None:
            return layer.bias is None and clean and _take_bias(constant, value, layer)
        same = static_shape(other) == static_shape(value) == static_shape(var)
        if same and layer.residual is None and not other.same_as(var):
            layer.residual = other
            return True
        return False
    if name == "nn.relu" and layer.low is None:
        layer.low = 0.0
        return True
    if name == "clip" and layer.low is None and layer.high is None:
        bounds = [_number(value.args[1]), _number(value.args[2])]
        if None in bounds:
            return False
        layer.low, layer.high = bounds
        return True
    if name == "nn.batch_norm" and layer.kind == "conv2d" and clean:
        return _take_batch_norm(graph, var, value, layer)
    return False


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


def _number(expr) -> float | None:
    value = getattr(expr, "value", None)
    return None if value is None else float(getattr(value, "value", value))


def _take_bias(constant: np.ndarray, value, layer: Layer) -> bool:
    """Accept a constant that repeats along everything but the output channels."""
    shape = static_shape(value)
    if layer.kind == "attention":
        return False
    axis = 1 if layer.kind == "conv2d" else len(shape) - 1
    channels = shape[axis]
    aligned = (1,) * (len(shape) - constant.ndim) + constant.shape
    if channels != layer.weight.shape[0] or len(aligned) != len(shape):
        return False
    if aligned[axis] not in (1, channels):
        return False
    if any(dim != 1 for index, dim in enumerate(aligned) if index != axis):
        return False
    layer.bias = np.broadcast_to(constant.reshape(-1), (channels,)).astype(np.float32)
    return True


def _take_batch_norm(graph: Graph, var, value, layer: Layer) -> bool:
    """Fold an inference batch norm into weight and bias, in float64 before one rounding."""
    if not value.args[0].same_as(var) or bool(getattr(value.attrs, "training", False)):
        return False
    user = graph.only_user(next(v for v, e in graph.order if e.same_as(value)))
    if user is None or not isinstance(user[1], relax.TupleGetItem) or user[1].index != 0:
        return False
    constants = [graph.constant(arg) for arg in value.args[1:5]]
    if any(c is None for c in constants) or int(value.attrs.axis) != 1:
        return False
    gamma, beta, mean, variance = (c.astype(np.float64) for c in constants)
    factor = 1.0 / np.sqrt(variance + float(value.attrs.epsilon))
    factor = factor * gamma if value.attrs.scale else factor
    shift = -mean * factor + (beta if value.attrs.center else 0.0)
    old_bias = 0.0 if layer.bias is None else layer.bias.astype(np.float64)
    layer.bias = (old_bias * factor + shift).astype(np.float32)
    layer.weight = (layer.weight * factor[:, None, None, None]).astype(np.float32)
    return True
