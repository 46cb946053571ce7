"""Passes over an ONNX graph, before TVM imports it."""

from collections.abc import Callable

import onnx

from .inputs import initializers_off_inputs

Pass = Callable[[onnx.ModelProto], onnx.ModelProto]

PASSES: tuple[Pass, ...] = (initializers_off_inputs,)
"""In this order. A pass returns another model, or the same one where it has nothing to do; the
first line of its docstring says why it is there."""


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model after all passes."""
    for each in PASSES:
        model = each(model)
    return model
