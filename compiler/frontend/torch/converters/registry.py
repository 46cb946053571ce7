"""The converters by name, and what they ask of a node."""

from collections.abc import Callable
from typing import Any

from tvm import relax

from .....target.errors import UnsupportedError
from ....partition.graph import static_shape

Converter = Callable[[Any, Any], relax.Expr]
"""From a `torch.fx.Node` and TVM's importer to an expression."""

CONVERTERS: dict[str, Converter] = {}
"""Converter by name of the ATen overload, such as `index_put.default`."""

NAME, VALUE = "microscopiq.name", "microscopiq.value"
"""Keys of a placeholder's `meta`: what the source calls a parameter, and its value."""


def converter(*names: str) -> Callable[[Converter], Converter]:
    """Register a function as the converter of operators, before TVM's own."""

    def register(function: Converter) -> Converter:
        CONVERTERS.update(dict.fromkeys(names, function))
        return function

    return register


def arguments(node, importer, *defaults: Any) -> list:
    """Return a node's arguments as expressions, `defaults` for the last ones that it leaves out.

    Keyword arguments come in by the operator's own order.
    """
    schema = [argument.name for argument in node.target._schema.arguments]
    found = list(importer.retrieve_args(node))
    missing = schema[len(found) :]
    values = dict(zip(schema[len(schema) - len(defaults) :], defaults, strict=True))
    for name in missing:
        given = node.kwargs.get(name, values.get(name))
        found.append(importer.env.get(given, given) if _is_node(given) else given)
    return found


def _is_node(value) -> bool:
    return type(value).__module__.startswith("torch.fx")


def shape_at(node, expr) -> tuple[int, ...]:
    """Return the shape of an operand.

    Raises
    ------
    UnsupportedError
        When it isn't known while compiling.
    """
    shape = static_shape(expr)
    if shape is None:
        raise refused(node, "all shapes of its operands must be known while compiling")
    return shape


def refused(node, reason: str) -> UnsupportedError:
    """Return the error for a node that can't be converted."""
    return UnsupportedError(f"{node.target} (node '{node.name}'): {reason}")
