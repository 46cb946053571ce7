"""From integers to numbers and back, as ONNX Runtime computes it in fp32."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .arithmetic import Emit, known


def single(emit: Emit, x: relax.Expr) -> relax.Expr:
    """Return a tensor of one element as a scalar."""
    value = known(x)
    return relax.const(value.reshape(())) if value is not None else emit(op.reshape(x, ()))


def times(emit: Emit, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """Return a product of scales, now if both are known."""
    return _folded(emit, a, b, np.multiply, op.multiply)


def ratio(emit: Emit, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """Return a quotient of scales, now if both are known."""
    return _folded(emit, a, b, np.divide, op.divide)


def _folded(emit: Emit, a, b, now, later) -> relax.Expr:
    left, right = known(a), known(b)
    if left is None or right is None:
        return emit(later(a, b))
    return relax.const(np.asarray(now(left, right, dtype=np.float32)))


def scaled(emit: Emit, sums: relax.Expr, scale: relax.Expr) -> relax.Expr:
    """Return integer sums as fp32, times a scale."""
    return emit(op.multiply(emit(op.astype(sums, "float32")), scale))


def requantized(emit: Emit, sums, scale, zero, dtype: str) -> relax.Expr:
    """Return ``clip(round(fp32(sums) * scale) + zero)``, rounded half to even."""
    one = relax.const(np.float32(1))
    return emit(op.quantize(scaled(emit, sums, scale), one, zero, out_dtype=dtype))
