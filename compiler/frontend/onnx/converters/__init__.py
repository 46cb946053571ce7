"""Operators of ONNX that TVM's importer lacks or gets wrong, by name.

A file of this folder has the converters of one family and registers each with `converter`;
importing the folder finds it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import onnx
from tvm import relax

Converter = Callable[[relax.BlockBuilder, list[relax.Expr | None], dict[str, Any], int], relax.Expr]
"""From the builder, a node's inputs (None where one is left out), its attributes and the opset,
to an expression: a tuple where the operator has several outputs."""

CONVERTERS: dict[str, Converter] = {}
"""Converter by name of the operator, as `full_name` gives it."""


def full_name(node: onnx.NodeProto) -> str:
    """Return an operator's name, with its domain in front where that isn't ONNX's own."""
    own = node.domain in ("", "ai.onnx")
    return node.op_type if own else f"{node.domain}.{node.op_type}"


def converter(name: str) -> Callable[[Converter], Converter]:
    """Register a function as the converter of an operator, before TVM's own."""

    def register(function: Converter) -> Converter:
        CONVERTERS[name] = function
        return function

    return register


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
