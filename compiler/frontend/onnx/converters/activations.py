"""The activations of recurrent operators, by the names that ONNX gives them."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from .....target.errors import UnsupportedError, unknown_name
from .values import const, dtype_of

Activation = Callable[[relax.Expr], relax.Expr]


def _number(value: float, like: relax.Expr) -> relax.Expr:
    return const(np.float32(value), dtype_of(like))


def _affine(x: relax.Expr, alpha: float, beta: float) -> relax.Expr:
    return relax.op.add(relax.op.multiply(x, _number(alpha, x)), _number(beta, x))


def _scaled_tanh(x: relax.Expr, alpha: float, beta: float) -> relax.Expr:
    inner = relax.op.tanh(relax.op.multiply(x, _number(beta, x)))
    return relax.op.multiply(inner, _number(alpha, x))


def _hard_sigmoid(x: relax.Expr, alpha: float, beta: float) -> relax.Expr:
    return relax.op.clip(_affine(x, alpha, beta), 0, 1)


def _thresholded(x: relax.Expr, alpha: float) -> relax.Expr:
    return relax.op.where(relax.op.greater(x, _number(alpha, x)), x, _number(0, x))


def _leaky(x: relax.Expr, alpha: float) -> relax.Expr:
    return relax.op.where(
        relax.op.less(x, _number(0, x)), relax.op.multiply(x, _number(alpha, x)), x
    )


def _elu(x: relax.Expr, alpha: float) -> relax.Expr:
    below = relax.op.subtract(relax.op.exp(x), _number(1, x))
    return relax.op.where(
        relax.op.less(x, _number(0, x)), relax.op.multiply(below, _number(alpha, x)), x
    )


def _softsign(x: relax.Expr) -> relax.Expr:
    return relax.op.divide(x, relax.op.add(relax.op.abs(x), _number(1, x)))


def _softplus(x: relax.Expr) -> relax.Expr:
    # log(1 + exp x), of no exponent that overflows.
    rest = relax.op.exp(relax.op.negative(relax.op.abs(x)))
    return relax.op.add(
        relax.op.log(relax.op.add(rest, _number(1, x))), relax.op.maximum(x, _number(0, x))
    )


FUNCTIONS: dict[str, tuple[Callable[..., relax.Expr], dict[str, float]]] = {
    "relu": (relax.op.nn.relu, {}),
    "tanh": (relax.op.tanh, {}),
    "sigmoid": (relax.op.sigmoid, {}),
    "affine": (_affine, {"alpha": 1, "beta": 0}),
    "leakyrelu": (_leaky, {"alpha": 0.01}),
    "thresholdedrelu": (_thresholded, {"alpha": 1}),
    "scaledtanh": (_scaled_tanh, {"alpha": 1, "beta": 1}),
    "hardsigmoid": (_hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "elu": (_elu, {"alpha": 1}),
    "softsign": (_softsign, {}),
    "softplus": (_softplus, {}),
}
"""By name in lower case: the function of x, and its other arguments with what they are unless
given."""


def activations_of(
    operator: str, attributes: dict[str, Any], default: tuple[str, ...], directions: int
) -> list[list[Activation]]:
    """Return each direction's activations.

    `activation_alpha` and `activation_beta` are lists of those that have one, in their order.

    Raises
    ------
    UnsupportedError
        For a number of activations other than the operator's, or one that ONNX doesn't have.
    """
    names = [name.decode().lower() for name in attributes.get("activations", ())]
    names = names or [name.lower() for name in default] * directions
    if len(names) != len(default) * directions:
        raise UnsupportedError(
            f"{operator}: {len(names)} activations; {len(default) * directions} are needed"
        )
    given = {end: list(attributes.get(f"activation_{end}", ())) for end in ("alpha", "beta")}
    found: list[Activation] = []
    for name in names:
        if name not in FUNCTIONS:
            raise UnsupportedError(f"{operator}: {unknown_name('activation', name, FUNCTIONS)}")
        function, defaults = FUNCTIONS[name]
        arguments = {
            end: given[end].pop(0) if given[end] else value for end, value in defaults.items()
        }
        found.append(functools.partial(function, **arguments))
    return [found[start : start + len(default)] for start in range(0, len(found), len(default))]
