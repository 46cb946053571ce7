"""Products of activations with weights that the source gave as integers and scales."""

import math

import numpy as np
from tvm import relax

from ...operators import Conv
from ...partition.graph import shape_of, static_shape
from ...partition.layer import Layer
from ...tir.blocks import scaled_blocks
from .conv2d import convolution, images
from .emission import Emission
from .gemm import emit_gemm, product

SCALES = ("multiply", "the source's scales are fp32, the array's fp16")
BLOCKS = ("sum", "adds blocks of inputs, each with an fp32 scale of the source")
"""Operators on the host that follow, each with the reason."""


def linear(emission: Emission, layer: Layer):
    """Emit a product whose weights have a scale per output channel."""
    n, k = layer.given.shape
    m = math.prod(shape_of(layer.x)) // k
    op = product(emission, layer, 1, m, n, k)
    rows = emission.rows(layer, emission.visit_expr(layer.x), (1, m, k), op.group)
    return _scaled(emission, emit_gemm(emission, layer, op, rows), layer.factors)


def conv2d(emission: Emission, layer: Layer):
    """Emit a convolution whose weights have a scale per output channel."""
    op = convolution(emission, layer, layer.given.shape)
    y = emit_gemm(emission, layer, op, images(emission, layer, op))
    return _scaled(emission, y, layer.factors.reshape(-1, 1, 1))


def _scaled(emission: Emission, y, scale: np.ndarray):
    if (scale == 1).all():
        return y
    emission.host.append(SCALES)
    return emission.builder_.normalize(relax.op.multiply(y, relax.const(scale)))


def blocks(emission: Emission, layer: Layer):
    """Emit a product whose blocks of inputs have scales of their own.

    For the array blocks are the groups of a convolution with one tap, whose sums stay apart.
    """
    count, (out, length) = layer.groups, layer.given.shape[:2]
    n, k = out // count, count * length
    m = math.prod(shape_of(layer.x)) // k
    q, e = emission.quantize(layer, emission.visit_expr(layer.x), (m, k), length)
    image = emission.emit(relax.op.permute_dims(emission.reshaped(q, (m, k))))
    image = emission.emit(relax.op.reshape(image, (1, k, m, 1)))
    op = product(emission, layer, 1, m, n, length, _pixels(length, m))
    exponent = relax.const(np.zeros(op.x_exponents, np.int8))
    sums = emit_gemm(emission, layer, op, [image, exponent], op.output_shape)
    gv = emission.helper(f"scaled_blocks_{count}x{m}x{n}", lambda: scaled_blocks(count, m, n))
    exponents = emission.reshaped(e, (m, count))
    operands = [emission.emit(sums), exponents, relax.const(layer.factors)]
    (y,) = emission.call(gv, operands, [emission.tensor((m, n), "float32")])
    emission.host.append(BLOCKS)
    return emission.reshaped(y, static_shape(layer.root))


def _pixels(channels: int, rows: int) -> Conv:
    """Return a convolution with one tap, over a column of pixels."""
    return Conv(channels, rows, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1)
