"""From numbers to integers and back: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear."""

import numpy as np
import onnx
from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from ....passes.integers.arithmetic import known
from ....passes.integers.scaling import single
from . import converter
from .float8 import decoded, encoded, is_float8

CODES = ("int8", "uint8", "int16", "uint16")
"""What numbers are quantized to."""


@converter("QuantizeLinear")
@converter("com.microsoft.QuantizeLinear")
def _quantize(bb, inputs, attrs, _opset):
    x, scale, *rest = inputs
    zero = rest[0] if rest else None
    dtype = _output_dtype(attrs) or ("uint8" if zero is None else str(zero.ty.dtype))
    if is_float8(dtype):
        numbers = bb.emit(op.divide(x, _beside(bb, x, scale, attrs)))
        return encoded(bb, numbers, dtype, bool(attrs.get("saturate", 1)))
    if dtype in CODES and attrs.get("block_size", 0):
        return _quantize_blocks(bb, x, scale, zero, attrs, dtype)
    if dtype not in CODES:
        raise UnsupportedError(f"QuantizeLinear to {dtype}; allowed: {', '.join(CODES)}")
    zero = relax.const(np.zeros((), dtype)) if zero is None else zero
    scale, zero, axis = _parameters(bb, x, scale, zero, attrs)
    return op.quantize(x, scale, zero, axis=axis, out_dtype=dtype)


@converter("DequantizeLinear")
@converter("com.microsoft.DequantizeLinear")
def _dequantize(bb, inputs, attrs, _opset):
    x, scale, *rest = inputs
    zero = rest[0] if rest else None
    if is_float8(str(x.ty.dtype)):
        return _dequantize_float8(bb, x, scale, zero, attrs)
    zero = relax.const(np.zeros((), str(x.ty.dtype))) if zero is None else zero
    if attrs.get("block_size", 0):
        return _dequantize_blocks(bb, x, scale, zero, attrs)
    scale, zero, axis = _parameters(bb, x, scale, zero, attrs)
    return op.dequantize(x, scale, zero, axis=axis, out_dtype="float32")


def _parameters(bb, x, scale, zero, attrs):
    """Return scale, zero point and the axis that several belong to."""
    count = int(np.prod([int(dim) for dim in scale.ty.shape.values]))
    rank = len(x.ty.shape.values) if x.ty.shape is not None else x.ty.ndim
    axis = attrs.get("axis", 1)
    if count == 1:
        return single(bb.emit, scale), single(bb.emit, zero), -1
    if len(shape_of(zero)) == 0 or int(np.prod(shape_of(zero))) == 1:
        zero = single(bb.emit, zero)
    return scale, zero, axis % rank


def _dequantize_blocks(bb, x, scale, zero, attrs):
    """Return numbers whose scales belong to blocks along an axis."""
    shape, axis, block = shape_of(x), attrs.get("axis", 1) % len(shape_of(x)), attrs["block_size"]
    count = shape_of(scale)[axis]
    if shape[axis] % block:
        raise UnsupportedError(
            f"DequantizeLinear: {shape[axis]} elements in blocks of {block}; allowed: a multiple"
        )
    values = [known(part) for part in (x, scale, zero)]
    if all(value is not None for value in values):
        return _constant_blocks(bb, values, axis, block)
    apart = (*shape[:axis], count, block, *shape[axis + 1 :])
    codes = bb.emit(op.astype(_reshaped(bb, x, apart), "float32"))
    if int(np.prod(shape_of(zero))) > 1:
        zero = _reshaped(bb, zero, (*shape[:axis], count, 1, *shape[axis + 1 :]))
    codes = bb.emit(op.subtract(codes, bb.emit(op.astype(zero, "float32"))))
    factors = _reshaped(bb, scale, (*shape[:axis], count, 1, *shape[axis + 1 :]))
    return op.reshape(bb.emit(op.multiply(codes, factors)), shape)


def _constant_blocks(bb, values: list, axis: int, block: int):
    """Return the numbers of constant codes, whose blocks are found again in the module."""
    codes, scale, zero = (np.moveaxis(value, axis, -1) if value.ndim else value for value in values)
    zero = np.broadcast_to(zero, scale.shape)
    lines = (codes.reshape(-1, block), scale.reshape(-1), zero.reshape(-1))
    constants = [relax.const(np.ascontiguousarray(line)) for line in lines]
    numbers = bb.emit(op.dequantize(*constants, axis=0, out_dtype="float32"))
    numbers = bb.emit(op.reshape(numbers, codes.shape))
    axes = list(range(codes.ndim - 1))
    axes.insert(axis, codes.ndim - 1)
    return op.permute_dims(numbers, axes)


def _reshaped(bb, x, shape):
    value = known(x)
    return bb.emit(op.reshape(x, shape)) if value is None else relax.const(value.reshape(shape))


def _dequantize_float8(bb, x, scale, zero, attrs):
    numbers = decoded(bb, x)
    if zero is not None:
        numbers = bb.emit(op.subtract(numbers, _beside(bb, x, decoded(bb, zero), attrs)))
    dtype = str(scale.ty.dtype)
    return op.multiply(bb.emit(op.astype(numbers, dtype)), _beside(bb, x, scale, attrs))


def _quantize_blocks(bb, x, scale, zero, attrs, dtype: str):
    """Return codes whose scales belong to blocks along an axis."""
    limits = np.iinfo(dtype)
    codes = bb.emit(op.round(bb.emit(op.divide(x, _beside(bb, x, scale, attrs)))))
    if zero is not None:
        zero = bb.emit(op.astype(_beside(bb, x, zero, attrs), str(x.ty.dtype)))
        codes = bb.emit(op.add(codes, zero))
    return op.astype(bb.emit(op.clip(codes, limits.min, limits.max)), dtype)


def _beside(bb, x, parameter, attrs):
    """Return one value, one for each entry of an axis or for blocks of it, to broadcast with x."""
    shape, given = shape_of(x), shape_of(parameter)
    axis = attrs.get("axis", 1) % len(shape) if shape else 0
    if int(np.prod(given)) == 1:
        return single(bb.emit, parameter)
    if block := attrs.get("block_size", 0):
        whole = bb.emit(op.repeat(parameter, block, axis))
        return bb.emit(op.strided_slice(whole, [axis], [0], [shape[axis]]))
    return _reshaped(bb, parameter, [-1 if each == axis else 1 for each in range(len(shape))])


def _output_dtype(attrs) -> str:
    wanted = attrs.get("output_dtype", 0)
    return onnx.helper.tensor_dtype_to_np_dtype(wanted).name if wanted else ""


@converter("DynamicQuantizeLinear")
def _dynamic_quantize(bb, inputs, _attrs, _opset):
    return relax.Tuple(dynamic_parameters(bb, inputs[0]))


def dynamic_parameters(bb, x) -> list[relax.Expr]:
    """Return uint8 codes of all of a tensor, their scale and zero point, as ONNX defines them."""
    zero, one = relax.const(np.float32(0)), relax.const(np.float32(1))
    largest = bb.emit(op.maximum(bb.emit(op.max(x)), zero))
    least = bb.emit(op.minimum(bb.emit(op.min(x)), zero))
    spread = bb.emit(op.subtract(largest, least))
    scale = bb.emit(op.divide(spread, relax.const(np.float32(255))))
    scale = bb.emit(op.where(bb.emit(op.equal(spread, zero)), one, scale))
    start = bb.emit(op.negative(bb.emit(op.divide(least, scale))))
    at = bb.emit(op.round(bb.emit(op.clip(start, 0, 255))))
    at = bb.emit(op.astype(at, "uint8"))
    codes = bb.emit(op.quantize(x, scale, at, axis=-1, out_dtype="uint8"))
    return [codes, scale, at]
