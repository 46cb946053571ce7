"""Codes of PT2E and torchao: quantized, dequantized, multiplied, as PyTorch computes it in fp32."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .registry import arguments, converter, refused

CODES = {"torch.int8": "int8", "torch.uint8": "uint8"}
"""Types that products take."""


@converter("quantize_per_tensor.default", "quantize_per_tensor.tensor")
def quantize_per_tensor(node, importer) -> relax.Var:
    """Return ``clamp(round(x * (1 / scale)) + zero point)``."""
    x, scale, zero, low, high, dtype = arguments(node, importer)
    scale, zero = _number(node, scale), int(_number(node, zero))
    emit, name = importer.block_builder.emit, _name(node, dtype)
    scaled = emit(op.multiply(x, relax.const(np.float32(1.0 / scale))))
    limits = np.iinfo(name)
    if (low, high) != (limits.min, limits.max):
        scaled = emit(op.clip(scaled, low - zero, high - zero))
    one, at = relax.const(np.float32(1)), relax.const(np.array(zero, name))
    return emit(op.quantize(scaled, one, at, out_dtype=name))


@converter("dequantize_per_tensor.default", "dequantize_per_tensor.tensor")
def dequantize_per_tensor(node, importer) -> relax.Var:
    """Return ``(codes - zero point) * scale``."""
    codes, scale, zero, *_ = arguments(node, importer, None)
    scale, zero = _number(node, scale), int(_number(node, zero))
    at = relax.const(np.array(zero, str(codes.ty.dtype)))
    return importer.block_builder.emit(
        op.dequantize(codes, relax.const(np.float32(scale)), at, out_dtype="float32")
    )


@converter("dequantize_per_channel.default")
def dequantize_per_channel(node, importer) -> relax.Var:
    """Return ``(codes - zero points) * scales`` along an axis."""
    codes, scales, zeros, axis, *_ = arguments(node, importer, None)
    emit, dtype = importer.block_builder.emit, str(codes.ty.dtype)
    zeros = relax.const(np.array(0, dtype)) if zeros is None else emit(op.astype(zeros, dtype))
    scales = emit(op.astype(scales, "float32"))
    return emit(op.dequantize(codes, scales, zeros, axis=axis, out_dtype="float32"))


@converter("_int_mm.default")
def integer_product(node, importer) -> relax.Var:
    """Multiply int8 matrices into int32."""
    return importer.block_builder.emit(op.matmul(*arguments(node, importer), out_dtype="int32"))


def _number(node, value) -> float:
    """Return a number that may come as a constant of one element."""
    if not isinstance(value, relax.Expr):
        return value
    if not hasattr(value, "value"):
        raise refused(node, "its scale and zero point must be known while compiling")
    return value.value.numpy().item()


def _name(node, dtype) -> str:
    if str(dtype) not in CODES:
        raise refused(node, f"codes of {dtype}; allowed: {', '.join(CODES)}")
    return CODES[str(dtype)]
