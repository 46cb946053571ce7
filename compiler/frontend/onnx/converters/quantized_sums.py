"""Sums, products and means of codes, as ONNX Runtime defines them, in its order of fp32."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from ....passes.integers.arithmetic import known
from ....passes.integers.scaling import requantized
from . import converter

RUNTIME = "com.microsoft."
"""Domain of the operators that ONNX Runtime added."""


@converter(RUNTIME + "QLinearAdd")
def _qlinear_add(bb, inputs, _attrs, _opset):
    a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = _parts(inputs, 8)
    dtype = str(a.ty.dtype)
    ratio_a, ratio_b = a_scale / scale, b_scale / scale
    offset = zero - (ratio_a * a_zero + ratio_b * b_zero)
    right = bb.emit(op.add(_times(bb, b, ratio_b), _number(offset)))
    return _codes(bb, bb.emit(op.add(_times(bb, a, ratio_a), right)), dtype)


@converter(RUNTIME + "QLinearMul")
def _qlinear_mul(bb, inputs, _attrs, _opset):
    a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = _parts(inputs, 8)
    dtype = str(a.ty.dtype)
    centered = [
        bb.emit(op.subtract(bb.emit(op.astype(x, "float32")), _number(at)))
        for x, at in ((a, a_zero), (b, b_zero))
    ]
    product = bb.emit(op.multiply(*centered))
    value = bb.emit(op.multiply(product, _number(a_scale * b_scale / scale)))
    return _codes(bb, bb.emit(op.add(value, _number(zero))), dtype)


@converter(RUNTIME + "QLinearGlobalAveragePool")
def _qlinear_global_average_pool(bb, inputs, attrs, _opset):
    x, x_scale, x_zero, y_scale, y_zero = _parts(inputs, 5)
    axes = [1, 2] if attrs.get("channels_last", 0) else [2, 3]
    if len(shape_of(x)) != 4:
        raise UnsupportedError(f"QLinearGlobalAveragePool of {len(shape_of(x))} axes; allowed: 4")
    pixels = int(np.prod([shape_of(x)[axis] for axis in axes]))
    sums = bb.emit(op.sum(bb.emit(op.astype(x, "int32")), axes, keepdims=True))
    sums = bb.emit(op.subtract(sums, relax.const(np.int32(pixels * int(x_zero)))))
    factor, dtype = x_scale / (y_scale * np.float32(pixels)), str(x.ty.dtype)
    zero = relax.const(np.asarray(y_zero, dtype))
    return requantized(bb.emit, sums, _number(factor), zero, dtype)


def _parts(inputs, count: int) -> list:
    """Return tensors, and constant scales and zero points as fp32, 0 where there is none."""
    found: list = []
    for number, value in enumerate([*inputs, *[None] * count][:count]):
        tensor = value is not None and number in (0, 3) and (number == 0 or count == 8)
        constant = None if value is None else known(value)
        if value is None:
            found.append(np.float32(0))
        elif tensor:
            found.append(value)
        elif constant is None:
            raise UnsupportedError("scales and zero points of QLinear operators must be constant")
        else:
            found.append(np.float32(constant.reshape(())))
    return found


def _times(bb, x, factor):
    return bb.emit(op.multiply(bb.emit(op.astype(x, "float32")), _number(factor)))


def _number(value) -> relax.Expr:
    return relax.const(np.float32(value))


def _codes(bb, value, dtype: str):
    """Return numbers that have their zero point as codes."""
    limits = np.iinfo(dtype)
    rounded = bb.emit(op.clip(bb.emit(op.round(value)), limits.min, limits.max))
    return op.astype(rounded, dtype)
