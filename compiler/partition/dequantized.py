"""Constants that are codes times a scale."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from .graph import LAYOUT, op_name, static_shape

Bound = Callable[[relax.Expr], relax.Expr]
"""Gives what a variable is bound to, through copies; another expression as it is."""


@dataclass(frozen=True)
class Weights:
    """Constant ``(codes - zero) * scale``, all three of the constant's shape."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """What they mean, in fp32."""
        return (self.codes.astype(np.int32) - self.zero).astype(np.float32) * self.scale

    def along(self, axis: int) -> "tuple[np.ndarray, np.ndarray] | None":
        """Return scale and zero point by the index of an axis, None if they differ within one."""
        found = []
        for values in (self.scale, self.zero):
            lines = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
            if (lines != lines[:, :1]).any():
                return None
            found.append(lines[:, 0])
        return found[0], found[1]


def known(expr) -> np.ndarray | None:
    """Return the value of a constant, None of anything else."""
    return expr.value.numpy() if isinstance(expr, ir.GenericConst) else None


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
    if name in COMPUTED:
        return COMPUTED[name](bound, value)
    if name != "dequantize":
        return None
    scale, zero = (_moved_constant(bound, arg) for arg in value.args[1:])
    codes = _codes(bound, value.args[0])
    if codes is None or scale is None or zero is None:
        return None
    axis = int(value.attrs.axis)
    spread = [
        np.broadcast_to(_along(part, axis, codes.ndim), codes.shape) for part in (scale, zero)
    ]
    return Weights(codes, *spread)


def _as_fp32(bound: Bound, value) -> Weights | None:
    """Return codes that are made fp32 and scaled later, if ever."""
    codes = _moved_constant(bound, value.args[0])
    if codes is None or codes.dtype not in (np.int8, np.uint8) or value.attrs.dtype != "float32":
        return None
    return Weights(codes, np.ones(codes.shape, np.float32), np.zeros(codes.shape, np.int32))


def _less_zeros(bound: Bound, value) -> Weights | None:
    found, zero = weights(bound, value.args[0]), _moved_constant(bound, value.args[1])
    if found is None or zero is None or (found.scale != 1).any() or found.zero.any():
        return None
    whole = zero.astype(np.int32)
    if (whole != zero).any() or static_shape(value) != found.codes.shape:
        return None
    return Weights(found.codes, found.scale, np.broadcast_to(whole, found.codes.shape))


def _times_scale(bound: Bound, value) -> Weights | None:
    for codes, factor in (value.args, list(reversed(value.args))):
        scale = _moved_constant(bound, factor)
        found = None if scale is None else weights(bound, codes)
        if scale is None or found is None or (found.scale != 1).any():
            continue
        if static_shape(value) == found.codes.shape:
            return Weights(found.codes, np.broadcast_to(scale, found.codes.shape), found.zero)
    return None


COMPUTED = {"astype": _as_fp32, "subtract": _less_zeros, "multiply": _times_scale}
"""What becomes of codes where dequantizing is written out."""


def _moved_constant(bound: Bound, expr) -> np.ndarray | None:
    """Return a constant, moved or made fp32."""
    value = bound(expr)
    if op_name(value) not in (*LAYOUT, "astype"):
        return known(value)
    inner, shape = _moved_constant(bound, value.args[0]), static_shape(value)
    if inner is None or shape is None:
        return None
    if op_name(value) == "astype":
        return inner.astype(str(value.attrs.dtype))
    return _moved(value, inner, shape)


def _codes(bound: Bound, expr) -> np.ndarray | None:
    """Return constant codes, or those that a constant is quantized to."""
    value = bound(expr)
    if op_name(value) != "quantize":
        return _moved_constant(bound, value)
    numbers, scale, zero = (_moved_constant(bound, arg) for arg in value.args)
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
