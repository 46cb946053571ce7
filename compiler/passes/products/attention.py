"""Attention in one operator, as two products with a softmax between them."""

import math

import numpy as np
from tvm import relax

from ...partition.graph import shape_of
from .convolutions import known
from .registry import Making, rewrites


@rewrites("nn.attention", "nn.attention_bias")
def attention(making: Making, call: relax.Call, args: list):
    """``softmax(Q K^T * scale + bias) V`` of ``(batch, tokens, heads, channels)``."""
    attrs, emit = call.attrs, making.emit
    if not known(making, call) or attrs.window_size is not None:
        return None
    query, key, value = (
        emit(relax.op.permute_dims(x, axes))
        for x, axes in zip(args, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)), strict=False)
    )
    tokens, width = shape_of(call.args[0])[1], shape_of(call.args[0])[3]
    seen = shape_of(call.args[1])[1]
    scale = 1 / math.sqrt(width) if attrs.scale is None else float(attrs.scale)
    scores = emit(relax.op.matmul(query, key))
    scores = emit(relax.op.multiply(scores, relax.const(scale, "float32")))
    if len(args) > 3:
        scores = emit(relax.op.add(scores, args[3]))
    if attrs.causal_mask is not None:
        offset = abs(tokens - seen) if str(attrs.causal_mask) == "BottomRight" else 0
        mask = relax.const(np.tril(np.ones((tokens, seen), bool), offset))
        lowest = relax.const(-np.inf, "float32")
        scores = emit(relax.op.where(mask, scores, lowest))
    shares = emit(relax.op.nn.softmax(scores, axis=-1))
    return relax.op.permute_dims(emit(relax.op.matmul(shares, value)), (0, 2, 1, 3))
