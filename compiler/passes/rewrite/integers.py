"""Products of integers: their activations are int8 already, and their sums stay int32."""

import math
from dataclasses import replace

from ...partition.graph import shape_of
from ...partition.layer import Layer
from .attention import transposed
from .conv2d import convolution
from .emission import Emission
from .gemm import emit_gemm, product


def linear(emission: Emission, layer: Layer):
    """Emit a product of rows with a constant matrix."""
    n, k = layer.given.shape
    m = math.prod(shape_of(layer.x)) // k
    op = replace(product(emission, layer, 1, m, n, k), integers=True)
    return emit_gemm(emission, layer, op, [_rows(emission, layer.x, (1, m, k))])


def conv2d(emission: Emission, layer: Layer):
    """Emit a convolution."""
    op = convolution(emission, layer, layer.given.shape, scaled=False)
    op = replace(op, integers=True)
    return emit_gemm(emission, layer, op, [emission.visit_expr(layer.x)])


def matmul(emission: Emission, layer: Layer):
    """Emit a product of two matrices, or stacks of them, that are known at run time."""
    left, right = shape_of(layer.x), shape_of(layer.other)
    batch, (m, k), n = math.prod(left[:-2]), left[-2:], right[-1]
    op = replace(product(emission, layer, batch, m, n, k), integers=True)
    columns = transposed(emission, emission.visit_expr(layer.other), right)
    operands = [_rows(emission, layer.x, (batch, m, k)), emission.reshaped(columns, (batch, n, k))]
    return emit_gemm(emission, layer, op, operands)


def _rows(emission: Emission, x, shape: tuple[int, int, int]):
    return emission.reshaped(emission.visit_expr(x), shape)
