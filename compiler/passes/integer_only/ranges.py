"""The largest magnitudes of a model's values, over samples: where static scales come from."""

from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from ...partition.graph import op_name

FLOAT = "float32"
NEVER = -float(1 << 20)
"""What is at most this stands for minus infinity, as masks have it."""


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes over samples, by the hash of the variable, minus infinity left out.

    Attributes
    ----------
    largest : dict of int to float
        Of each of `measured`.
    channels : dict of int to numpy.ndarray
        Of each of `multiplied`: float64, one for each place of the last axis.
    """

    largest: dict[int, float]
    channels: dict[int, np.ndarray]


def is_float(expr: relax.Expr) -> bool:
    """Tell whether an expression is a tensor of fp32."""
    return isinstance(expr.ty, relax.TensorType) and str(expr.ty.dtype) == FLOAT


def bound_values(function: relax.Function) -> list[tuple[relax.Var, relax.Expr]]:
    """Return what the variables of a function are bound to, in order."""
    return [
        (binding.var, binding.value) for block in function.body.blocks for binding in block.bindings
    ]


def measured(function: relax.Function) -> list[relax.Var]:
    """Return the fp32 values of a function: inputs first."""
    variables = [*function.params, *(var for var, _ in bound_values(function))]
    return [var for var in variables if is_float(var)]


def multiplied(function: relax.Function) -> list[relax.Var]:
    """Return the values that matrices of constants are multiplied with, once each."""
    found = {}
    for _, value in bound_values(function):
        if op_name(value) == "matmul" and isinstance(value.args[1], ir.GenericConst):
            found[hash(value.args[0])] = value.args[0]
    return [var for var in found.values() if isinstance(var, relax.Var)]
