"""LSTM with weights of integers, whose input and state are quantized at run time.

As ONNX Runtime computes it: the input of all steps has one scale, the state of each its own.
"""

from typing import Any, NamedTuple

import numpy as np
from tvm import relax

from .....target.errors import UnsupportedError
from . import converter
from .quantized import RUNTIME, dynamic_quantize_matmul
from .recurrent import Weights, convert
from .values import known

NAME = "DynamicQuantizeLSTM"
PARTS = ("weights", "scale", "zero point")
"""What is given of a matrix."""


class Codes(NamedTuple):
    """Integers ``(inputs, 4 * hidden)`` with scale and zero point, one or one for each column."""

    values: relax.Expr
    scale: relax.Expr
    zero: relax.Expr


def _product(builder: relax.BlockBuilder, x: relax.Expr, weight: Codes) -> relax.Expr:
    values, codes = known(x), known(weight.values)
    if values is not None and codes is not None and not values.any():
        # The state before the first step, most of the time.
        return relax.const(np.zeros((len(values), codes.shape[1]), np.float32))
    return builder.emit(dynamic_quantize_matmul(builder, [x, *weight], {}, 0))


def _constant(inputs: list[relax.Expr | None], place: int, what: str) -> np.ndarray:
    values = known(inputs[place]) if place < len(inputs) else None
    if values is None:
        raise UnsupportedError(f"{NAME}: its {what} must be a constant")
    return values


@converter(RUNTIME + NAME)
def _dynamic_quantize_lstm(builder, inputs: list[relax.Expr | None], attributes: dict[str, Any], _):
    stacks = [
        [
            _constant(inputs, place, f"{name} {what}")
            for place, what in zip(places, PARTS, strict=True)
        ]
        for name, places in (("W", (1, 8, 9)), ("R", (2, 10, 11)))
    ]
    directions, hidden, _ = stacks[1][0].shape

    def of(place: int) -> tuple[Codes, Codes]:
        w, r = (
            Codes(*(relax.const(np.ascontiguousarray(each[place])) for each in stack))
            for stack in stacks
        )
        return w, r

    weights = Weights(directions, hidden, of, _product)
    return convert("LSTM", builder, inputs[:8], attributes, weights)
