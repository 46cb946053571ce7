"""Activations that are codes times a scale."""

from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.relax import op

from ...partition.dequantized import Bound, known
from ...partition.graph import LAYOUT, op_name, static_shape


@dataclass(frozen=True)
class Activation:
    """``(codes - zero) * scale`` with one scale and one zero point."""

    codes: relax.Expr
    scale: relax.Expr
    zero: relax.Expr


def activation(bound: Bound, emit, expr: relax.Expr) -> Activation | None:
    """Return what a value is made of, None of anything but int8 or uint8 codes under one scale."""
    value = bound(expr)
    if op_name(value) in LAYOUT:
        inner = activation(bound, emit, value.args[0])
        if inner is None:
            return None
        arguments = [inner.codes, *value.args[1:]]
        codes = emit(relax.Call(value.op, arguments, value.attrs))
        return Activation(codes, inner.scale, inner.zero)
    if op_name(value) != "dequantize" or str(value.ty.dtype) != "float32":
        return None
    codes, scale, zero = value.args
    if str(codes.ty.dtype) not in ("int8", "uint8"):
        return None
    if not (_alone(scale) and _alone(zero)) or known(codes) is not None:
        return None
    return Activation(codes, emit(op.reshape(scale, ())), emit(op.reshape(zero, ())))


def _alone(expr) -> bool:
    return int(np.prod(static_shape(expr) or (2,))) == 1 or static_shape(expr) == ()
