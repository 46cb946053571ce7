"""Products of integers with zero points, as products of int8 that the array runs.

``sum (a - za) (b - zb) = sum a b - za sum b - zb sum a + K za zb``: the array multiplies the codes
as they are, unsigned ones moved down by 128 together with their zero points. Sums of constant
weights are constants; sums of activations are one more output channel, whose weights are 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import ir, relax
from tvm.relax import op

from ....target.errors import UnsupportedError
from ...partition.graph import shape_of

Emit = Callable[[relax.Expr], relax.Expr]
"""Binds an expression to a variable."""
Value = Any
"""An int32 array that is known while compiling, or an expression."""
MIDDLE = 128
"""What an unsigned code is above the signed one."""


def known(expr) -> np.ndarray | None:
    """Return the value of a constant, None of anything else."""
    return expr.value.numpy() if isinstance(expr, ir.GenericConst) else None


def expression(value: Value) -> relax.Expr:
    """Return an int32 as an expression."""
    return relax.const(np.asarray(value, np.int32)) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class Codes:
    """int8 codes, and their zero point: int32 in a shape that broadcasts with them."""

    codes: relax.Expr
    zero: Value

    @property
    def centered(self) -> bool:
        """The zero point is known to be 0."""
        return isinstance(self.zero, np.ndarray) and not self.zero.any()


def codes_of(emit: Emit, x: relax.Expr, zero: relax.Expr | None, shape=None) -> Codes:
    """Return int8 or uint8 codes as int8, with their zero point.

    Parameters
    ----------
    shape : tuple of int, optional
        Of the zero point, if it has several elements.
    """
    dtype, value = str(x.ty.dtype), None if zero is None else known(zero)
    if dtype not in ("int8", "uint8"):
        raise UnsupportedError(f"a product of {dtype} codes; allowed: int8, uint8")
    shift = MIDDLE if dtype == "uint8" else 0
    at: Value
    if zero is None or value is not None:
        at = np.array(0 if value is None else value, np.int32) - shift
        at = at.reshape(()) if at.size == 1 else at.reshape(shape)
    else:
        at = emit(op.subtract(emit(op.astype(zero, "int32")), relax.const(shift, "int32")))
        single = int(np.prod(shape_of(zero))) == 1
        at = emit(op.reshape(at, () if single else shape))
    return Codes(_signed(emit, x), np.asarray(at) if isinstance(at, np.generic) else at)


def _signed(emit: Emit, x: relax.Expr) -> relax.Expr:
    if str(x.ty.dtype) == "int8":
        return x
    value = known(x)
    if value is not None:
        return relax.const((value.astype(np.int16) - MIDDLE).astype(np.int8))
    wide = emit(op.subtract(emit(op.astype(x, "int32")), relax.const(MIDDLE, "int32")))
    return emit(op.astype(wide, "int8"))


def centered(weight: Codes) -> Codes:
    """Return constant codes with the zero point taken off them, if they stay 8 bits."""
    value = known(weight.codes)
    if value is None or not isinstance(weight.zero, np.ndarray):
        return weight
    moved = value.astype(np.int32) - weight.zero
    if moved.min(initial=0) < -128 or moved.max(initial=0) > 127:
        return weight
    return Codes(relax.const(moved.astype(np.int8)), np.zeros((), np.int32))


def corrected(emit: Emit, sums: relax.Expr, a: Value, b: Value, length: int, of_a, of_b: Value):
    """Return a product's sums with zero points `a` and `b` taken off its operands.

    Parameters
    ----------
    length : int
        Inputs of a sum.
    of_a, of_b
        Sums of the codes of each; None of `a` where `b` is 0.
    """
    off = _times(emit, a, of_b)
    if of_a is not None:
        off = _add(emit, off, _times(emit, b, of_a))
        off = _add(emit, off, _times(emit, _times(emit, a, b), np.int32(-length)))
    if isinstance(off, np.ndarray) and not off.any():
        return sums
    return emit(op.subtract(sums, expression(off)))


def _times(emit: Emit, a: Value, b: Value) -> Value:
    if isinstance(a, relax.Expr) or isinstance(b, relax.Expr):
        return emit(op.multiply(expression(_array(a)), expression(_array(b))))
    return np.asarray(np.asarray(a, np.int64) * b, np.int32)


def _add(emit: Emit, a: Value, b: Value) -> Value:
    if isinstance(a, relax.Expr) or isinstance(b, relax.Expr):
        return emit(op.add(expression(_array(a)), expression(_array(b))))
    return np.asarray(np.asarray(a, np.int64) + b, np.int32)


def _array(value) -> Value:
    return value if isinstance(value, relax.Expr) else np.asarray(value)


def total(emit: Emit, codes: relax.Expr, axis: int) -> Value:
    """Return the sums of codes along an axis, which stays."""
    value = known(codes)
    if value is not None:
        return value.sum(axis, keepdims=True, dtype=np.int32)
    return emit(op.sum(emit(op.astype(codes, "int32")), axis, keepdims=True))


def part(emit: Emit, x: relax.Expr, axis: int, start: int, end: int) -> relax.Expr:
    """Return a slice along an axis."""
    return emit(op.strided_slice(x, [axis], [start], [end]))
