"""Passes over an ONNX graph, before TVM imports it."""

import functools
from collections.abc import Callable

import onnx

from .fold import fold_constants
from .functions import inline_functions
from .inputs import initializers_off_inputs, optional_inputs_given
from .norms import fold_batch_norms
from .opset import raise_opset
from .quantized import four_bits_as_bytes, open_quantized
from .sizes import Given, bind_inputs

Pass = Callable[[onnx.ModelProto], onnx.ModelProto]
Observe = Callable[[str, onnx.ModelProto, onnx.ModelProto], None]
"""Called as ``observe(name, before, after)`` for each pass that changed the model."""


def passes(given: Given) -> tuple[tuple[str, Pass], ...]:
    """Return the passes by name, in their order.

    A pass returns another model, or the same one where it has nothing to do; the first line of its
    docstring says why it is there.
    """
    return (
        ("inputs", initializers_off_inputs),
        ("optional", optional_inputs_given),
        ("functions", inline_functions),
        ("sizes", functools.partial(bind_inputs, given=given)),
        ("opset", raise_opset),
        ("quantized", open_quantized),
        ("fold", fold_constants),
        ("batch_norms", fold_batch_norms),
        ("four_bits", four_bits_as_bytes),
    )


def simplify(
    model: onnx.ModelProto, given: Given, observe: Observe | None = None
) -> onnx.ModelProto:
    """Return the model after all passes."""
    for name, each in passes(given):
        changed = each(model)
        if observe and changed is not model:
            observe(name, model, changed)
        model = changed
    return model
