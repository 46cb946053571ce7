"""Products with weights in blocks: MatMulNBits of ONNX Runtime."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.dequantized import known
from ....partition.graph import shape_of
from . import converter

BITS = (2, 4, 8)
"""Widths of codes that share bytes evenly."""


@converter("com.microsoft.MatMulNBits")
def _matmul_nbits(bb, inputs, attrs, _opset):
    x, packed, scales, *rest = inputs
    zeros, order, bias = [*rest, None, None, None][:3]
    inner, outer = int(attrs["K"]), int(attrs["N"])
    bits, block = int(attrs.get("bits", 4)), int(attrs["block_size"])
    count = -(-inner // block)
    if bits not in BITS:
        raise UnsupportedError(f"MatMulNBits of {bits} bits; allowed: {', '.join(map(str, BITS))}")
    if order is not None:
        raise UnsupportedError("MatMulNBits with g_idx, inputs in another order; allowed: none")
    codes, scale = known(packed), known(scales)
    if codes is None or scale is None or (zeros is not None and known(zeros) is None):
        raise UnsupportedError("MatMulNBits: weights, scales and zero points must be constant")
    codes = _unpacked(codes.reshape(outer, count, -1), bits, block)
    zero = _zeros(None if zeros is None else known(zeros), bits, outer, count)
    weight = blocked(bb, codes, scale.reshape(outer, count).astype(np.float32), zero)
    padding = count * block - inner
    if padding:
        # Codes that fill up the last block mean something, so what they multiply has to be 0.
        zeros_behind = relax.const(np.zeros((*shape_of(x)[:-1], padding), np.float32))
        x = bb.emit(op.concat([x, zeros_behind], axis=-1))
    y = bb.emit(op.matmul(x, bb.emit(op.permute_dims(weight))))
    return y if bias is None else op.add(y, bias)


def _unpacked(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Return the codes of bytes along the last axis, low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = packed[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return codes.reshape(*packed.shape[:-1], -1)[..., :count]


def _zeros(value: np.ndarray | None, bits: int, outer: int, count: int) -> np.ndarray:
    """Return uint8 zero points ``(out, blocks)``: the middle unless given, packed or as numbers."""
    if value is None:
        return np.full((outer, count), 1 << (bits - 1), np.uint8)
    if value.dtype == np.uint8:
        return _unpacked(value.reshape(outer, -1), bits, count)
    codes = value.reshape(outer, count).astype(np.float32)
    whole = np.clip(np.rint(codes), 0, 255).astype(np.uint8)
    if (whole != codes).any():
        raise UnsupportedError("MatMulNBits: zero points that are no codes; allowed: whole numbers")
    return whole


def blocked(bb, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> relax.Expr:
    """Return the numbers ``(out, inputs)`` of codes ``(out, blocks, block)``."""
    outer, count, block = codes.shape
    lines = [codes.reshape(-1, block), scale.reshape(-1), zero.reshape(-1)]
    values = [relax.const(np.ascontiguousarray(line)) for line in lines]
    numbers = bb.emit(op.dequantize(*values, axis=0, out_dtype="float32"))
    return bb.emit(op.reshape(numbers, (outer, count * block)))
