"""Products of integers that the source model gave: their activations are int8 already.

With weight scales of 1 and exponents of 0 the array's fp32 result is the integer sum itself,
because a partition takes only products whose sums fp32 holds exactly.
"""

import numpy as np
from tvm import relax

from ....target.weight import blocks
from ...partition.graph import shape_of
from ...partition.layer import Layer
from .attention import transposed
from .conv2d import convolution
from .emission import Emission
from .gemm import emit_gemm, product


def linear(emission: Emission, layer: Layer):
    """Emit a product of rows with a constant matrix."""
    n, k = layer.given.shape
    m = int(np.prod(shape_of(layer.x))) // k
    op = product(emission, layer, 1, m, n, k)
    rows = _rows(emission, emission.visit_expr(layer.x), (1, m, k), op.group)
    return _integers(emission, emit_gemm(emission, layer, op, rows))


def conv2d(emission: Emission, layer: Layer):
    """Emit a convolution."""
    op = convolution(emission, layer, layer.given.shape, scaled=False)
    exponents = _zeros(op.x_exponents)
    return _integers(
        emission, emit_gemm(emission, layer, op, [emission.visit_expr(layer.x), exponents])
    )


def matmul(emission: Emission, layer: Layer):
    """Emit a product of two matrices, or stacks of them, that are known at run time."""
    left, right = shape_of(layer.x), shape_of(layer.other)
    batch, (m, k), n = int(np.prod(left[:-2])), left[-2:], right[-1]
    op = product(emission, layer, batch, m, n, k)
    operands = _rows(emission, emission.visit_expr(layer.x), (batch, m, k), op.group)
    columns = transposed(emission, emission.visit_expr(layer.other), right)
    operands += _rows(emission, columns, (batch, n, k), op.group)
    return _integers(emission, emit_gemm(emission, layer, op, operands))


def _rows(emission: Emission, x, shape: tuple[int, int, int], group: int) -> list:
    return [emission.reshaped(x, shape), _zeros((*shape[:2], blocks(shape[2], group)))]


def _zeros(shape: tuple[int, ...]) -> relax.Expr:
    return relax.const(np.zeros(shape, np.int8))


def _integers(emission: Emission, sums):
    """Return the sums as the product's int32."""
    return emission.builder_.normalize(relax.op.astype(sums, "int32"))
