"""Which roles the input of a layer has (`quant.roles`), read off the function."""

from collections.abc import Callable

from tvm import relax

from .fusion import number
from .graph import LAYOUT, Graph, op_name
from .layer import Layer

Rule = Callable[[Graph, relax.Expr], bool]
SAME_ELEMENTS = (*LAYOUT, "strided_slice", "broadcast_to", "take", "astype", "nn.pad")
"""Operators whose results are elements of the first argument, or a constant beside them."""
NEVER_BELOW_0 = ("nn.relu", "nn.softmax", "sigmoid", "exp", "abs", "square")


def attention(_graph: Graph, layer: Layer) -> bool:
    """Tell whether both operands are known at run time only."""
    return layer.weight is None and layer.integers is None


def inputs(graph: Graph, layer: Layer) -> bool:
    """Tell whether a layer reads a parameter of the function."""
    value = graph.value(layer.x)
    while op_name(value) in SAME_ELEMENTS:
        value = graph.value(value.args[0])
    return isinstance(value, relax.Var)


def nonnegative(graph: Graph, layer: Layer) -> bool:
    """Tell whether no element of a layer's input can be below 0."""
    return layer.weight is not None and never_below_0(graph, layer.x)


def never_below_0(graph: Graph, expr) -> bool:
    """Tell whether no element can be below 0 whatever the function's inputs are.

    False where this isn't known. NaN, which no layer takes, doesn't count.
    """
    value = graph.value(expr)
    if isinstance(value, relax.Tuple):
        return all(never_below_0(graph, field) for field in value.fields)
    constant = graph.constant(value, copy=False)
    if constant is not None:
        return bool((constant >= 0).all())
    name = op_name(value)
    return name in NEVER_BELOW_0 or (name in KEEPS and KEEPS[name](graph, value))


def _first(graph: Graph, call) -> bool:
    return never_below_0(graph, call.args[0])


def _both(graph: Graph, call) -> bool:
    return _first(graph, call) and never_below_0(graph, call.args[1])


def _either(graph: Graph, call) -> bool:
    return _first(graph, call) or never_below_0(graph, call.args[1])


def _padded(graph: Graph, call) -> bool:
    return float(call.attrs.pad_value) >= 0 and _first(graph, call)


def _clipped(_graph: Graph, call) -> bool:
    low = number(call.args[1])
    return low is not None and low >= 0


KEEPS: dict[str, Rule] = {
    **dict.fromkeys(SAME_ELEMENTS, _first),
    **dict.fromkeys(("mean", "sum", "max", "min", "sqrt", "concat"), _first),
    **dict.fromkeys(("nn.max_pool2d", "nn.avg_pool2d", "nn.adaptive_avg_pool2d"), _first),
    **dict.fromkeys(("add", "multiply", "minimum"), _both),
    "maximum": _either,
    "nn.pad": _padded,
    "clip": _clipped,
}
"""Operators whose results aren't below 0 where the rule finds it of their arguments."""

HAS_ROLE: dict[str, Callable[[Graph, Layer], bool]] = {
    "attention": attention,
    "inputs": inputs,
    "nonnegative": nonnegative,
}


def roles(graph: Graph, layer: Layer) -> tuple[str, ...]:
    """Return the roles that a layer's input has."""
    return tuple(name for name, has in HAS_ROLE.items() if has(graph, layer))
