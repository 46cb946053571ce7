"""What is known of numbers that are codes times a scale: constants, and activations."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.relax import op

from ...partition.graph import op_name, static_shape
from .arithmetic import known

Bound = Callable[[relax.Expr], relax.Expr]
"""Gives what a variable is bound to, through copies; another expression as it is."""
LAYOUT = ("permute_dims", "reshape", "expand_dims", "squeeze")
"""Operators that only move elements."""


@dataclass(frozen=True)
class Weights:
    """Constant ``(codes - zero) * scale``, all three of the constant's shape."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def along(self, axis: int) -> "tuple[np.ndarray, np.ndarray] | None":
        """Return scale and zero point by the index of an axis, None if they differ within one."""
        found = []
        for values in (self.scale, self.zero):
            lines = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
            if (lines != lines[:, :1]).any():
                return None
            found.append(lines[:, 0])
        return found[0], found[1]


@dataclass(frozen=True)
class Activation:
    """``(codes - zero) * scale`` with one scale and one zero point."""

    codes: relax.Expr
    scale: relax.Expr
    zero: relax.Expr


def weights(bound: Bound, expr: relax.Expr) -> Weights | None:
    """Return what a constant is made of, None of anything but dequantized codes."""
    value = bound(expr)
    name = op_name(value)
    if name in LAYOUT:
        inner, shape = weights(bound, value.args[0]), static_shape(value)
        if inner is None or shape is None:
            return None
        parts = (inner.codes, inner.scale, inner.zero)
        return Weights(*(_moved(value, part, shape) for part in parts))
    if name != "dequantize":
        return None
    codes, scale, zero = _codes(bound, value.args[0]), *map(known, value.args[1:])
    if codes is None or scale is None or zero is None:
        return None
    axis = int(value.attrs.axis)
    spread = [
        np.broadcast_to(_along(part, axis, codes.ndim), codes.shape) for part in (scale, zero)
    ]
    return Weights(codes, *spread)


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


def _codes(bound: Bound, expr) -> np.ndarray | None:
    """Return constant codes, or those that a constant is quantized to."""
    value = bound(expr)
    if op_name(value) != "quantize":
        return known(value)
    numbers, scale, zero = (known(bound(arg)) for arg in value.args)
    if numbers is None or scale is None or zero is None:
        return None
    axis, dtype = int(value.attrs.axis), str(value.attrs.out_dtype)
    scale, zero = (_along(part, axis, numbers.ndim) for part in (scale, zero))
    limits = np.iinfo(dtype)
    codes = np.rint(numbers / scale) + zero.astype(np.float32)
    return np.clip(codes, limits.min, limits.max).astype(dtype)


def _along(part: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """Return one value, or one for each index of an axis, as it broadcasts."""
    if part.size == 1:
        return part.reshape((1,) * rank)
    shape = [1] * rank
    shape[axis] = -1
    return part.reshape(shape)


def _moved(call, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if op_name(call) != "permute_dims":
        return values.reshape(shape)
    axes = call.attrs.axes
    return values.transpose(None if axes is None else [int(axis) for axis in axes])
