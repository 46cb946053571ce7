"""Matrix products of integers: of ONNX, and of what ONNX Runtime makes of them."""

import numpy as np
from tvm import relax
from tvm.relax import op

from ....passes.integers.arithmetic import known
from ....passes.integers.products import matmul
from ....passes.integers.scaling import ratio, requantized, scaled, single, times
from . import converter
from .quantized_linear import dynamic_parameters

RUNTIME = "com.microsoft."
"""Domain of the operators that ONNX Runtime added."""


@converter("MatMulInteger")
def _matmul_integer(bb, inputs, _attrs, _opset):
    a, b, *zeros = inputs
    zeros = [*zeros, None, None][:2]
    return matmul(bb.emit, a, b, *zeros)


@converter(RUNTIME + "MatMulIntegerToFloat")
def _matmul_integer_to_float(bb, inputs, _attrs, _opset):
    a, b, a_scale, b_scale, *rest = inputs
    a_zero, b_zero, bias = [*rest, None, None, None][:3]
    sums = matmul(bb.emit, a, b, a_zero, b_zero)
    result = scaled(bb.emit, sums, times(bb.emit, _scale(bb, a_scale), _scale(bb, b_scale)))
    return result if bias is None else op.add(result, bias)


@converter(RUNTIME + "DynamicQuantizeMatMul")
def dynamic_quantize_matmul(bb, inputs, attrs, opset):
    """Return the product of numbers, quantized at run time as one tensor, with codes."""
    a, b, b_scale, *rest = inputs
    b_zero, bias = [*rest, None, None][:2]
    codes, a_scale, a_zero = dynamic_parameters(bb, a)
    return _matmul_integer_to_float(
        bb, [codes, b, a_scale, b_scale, a_zero, b_zero, bias], attrs, opset
    )


@converter("QLinearMatMul")
def _qlinear_matmul(bb, inputs, _attrs, _opset):
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = inputs
    sums = matmul(bb.emit, a, b, a_zero, b_zero)
    both = times(bb.emit, _scale(bb, a_scale), _scale(bb, b_scale))
    factor = ratio(bb.emit, both, _scale(bb, y_scale))
    return requantized(bb.emit, sums, factor, single(bb.emit, y_zero), str(y_zero.ty.dtype))


@converter(RUNTIME + "QGemm")
def _qgemm(bb, inputs, attrs, _opset):
    a, a_scale, a_zero, b, b_scale, b_zero, *rest = inputs
    bias, y_scale, y_zero = [*rest, None, None, None][:3]
    a = bb.emit(op.permute_dims(a)) if attrs.get("transA", 0) else a
    if attrs.get("transB", 0):
        value = known(b)
        b = bb.emit(op.permute_dims(b)) if value is None else relax.const(value.T.copy())
    sums = matmul(bb.emit, a, b, a_zero, b_zero)
    if bias is not None:
        sums = bb.emit(op.add(sums, bias))
    alpha = relax.const(np.float32(attrs.get("alpha", 1.0)))
    both = times(bb.emit, times(bb.emit, alpha, _scale(bb, a_scale)), _scale(bb, b_scale))
    if y_scale is None:
        return scaled(bb.emit, sums, both)
    factor = ratio(bb.emit, both, _scale(bb, y_scale))
    return requantized(bb.emit, sums, factor, single(bb.emit, y_zero), str(y_zero.ty.dtype))


def _scale(bb, scale):
    """Return a scale in fp32 as a scalar, or as it broadcasts with columns."""
    value = known(scale)
    if str(scale.ty.dtype) != "float32":
        scale = (
            bb.emit(op.astype(scale, "float32"))
            if value is None
            else relax.const(value.astype(np.float32))
        )
    alone = (
        value.size == 1 if value is not None else int(np.prod(scale.ty.shape.values or [1])) == 1
    )
    return single(bb.emit, scale) if alone else scale
