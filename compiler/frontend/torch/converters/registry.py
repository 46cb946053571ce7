"""The converters by name, and what they ask of a node."""

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from .....target.errors import UnsupportedError
from ....partition.graph import static_shape

Converter = Callable[[Any, Any], relax.Expr]
"""From a `torch.fx.Node` and TVM's importer to an expression."""

CONVERTERS: dict[str, Converter] = {}
"""Converter by name of the ATen overload, such as `index_put.default`."""

NAME, VALUE = "microscopiq.name", "microscopiq.value"
"""Keys of a placeholder's `meta`: what the source calls a constant, and its value."""


def converter(*names: str) -> Callable[[Converter], Converter]:
    """Register a function as the converter of operators, before TVM's own."""

    def register(function: Converter) -> Converter:
        CONVERTERS.update(dict.fromkeys(names, function))
        return function

    return register


def arguments(node, importer, *defaults: Any) -> list:
    """Return a node's arguments as expressions, in the operator's order.

    Parameters
    ----------
    defaults : optional
        Of the operator's last arguments, for those that the node leaves out.
    """
    names = [argument.name for argument in node.target._schema.arguments]
    found = list(importer.retrieve_args(node))
    values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    for name in names[len(found) :]:
        given = node.kwargs.get(name, values.get(name))
        found.append(importer.env[given] if _is_node(given) else given)
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


def constant_of(node) -> np.ndarray | None:
    """Return the value of a constant through changes of layout, None for anything else."""
    if node.op == "placeholder":
        return node.meta.get(VALUE)
    name = getattr(node.target, "__name__", "")
    if name not in ("permute.default", "transpose.int"):
        return None
    value = constant_of(node.args[0])
    if value is None:
        return None
    if name == "transpose.int":
        return value.swapaxes(node.args[1], node.args[2])
    return value.transpose(node.args[1])


def refused(node, reason: str) -> UnsupportedError:
    """Return the error for a node that can't be converted."""
    return UnsupportedError(f"{node.target} (node '{node.name}'): {reason}")
