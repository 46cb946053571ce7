"""A product of rows with a constant matrix."""

import math

import numpy as np
from tvm import relax

from ...partition.graph import shape_of
from ...partition.layer import Layer
from .emission import Emission
from .gemm import emit_gemm, product
from .host import emit_behind


def on_array(emission: Emission, layer: Layer):
    """Emit it in integers."""
    n, k = layer.matrix.shape
    m = math.prod(shape_of(layer.x)) // k
    x = None if layer.source is not None else emission.visit_expr(layer.x)
    op = product(emission, layer, 1, m, n, k)
    return emit_gemm(emission, layer, op, emission.rows(layer, x, (1, m, k), op.group))


def on_host(emission: Emission, layer: Layer, values: np.ndarray):
    """Emit it with the values of its weights ``(1, out, in)``."""
    inputs, shape = values.shape[-1], shape_of(layer.x)
    x = emission.rounded(emission.visit_expr(layer.x), math.prod(shape) // inputs, inputs)
    weight = relax.const(np.ascontiguousarray(values[0].T))
    return emit_behind(emission, layer, emission.emit(relax.op.matmul(x, weight)), (1, -1))
