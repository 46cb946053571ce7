"""Puts products of integers in the place of products of dequantized numbers.

``dequantize(a) @ dequantize(b)`` is the integers' product times both scales. A bias that is
integers of the same scale is added to them, and what is quantized again is scaled from the
integers in one step, in the order in which ONNX Runtime does so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...partition.dequantized import known, weights
from ...partition.graph import function_names, op_name, shape_of, static_shape
from . import products
from .activations import activation
from .scaling import ratio, requantized, scaled, times

SAME_SCALE = 1e-5
"""Relative difference of a bias's scale from the product of the operands' that is rounding."""


@dataclass(frozen=True)
class Sums:
    """What a value is the product of: int32 sums, and a scale that broadcasts with them."""

    sums: relax.Expr
    scale: relax.Expr


def take_integers(mod: tvm.IRModule) -> tvm.IRModule:
    """Return a module that multiplies the integers of a quantized model as they are."""
    for gv in function_names(mod):
        take = _TakeIntegers(mod)
        take.builder_.update_func(gv, take.visit_expr(mod[gv]))
        if take.taken:
            mod = take.builder_.get()
    return relax.transform.DeadCodeElimination()(mod)


@mutator
class _TakeIntegers(PyExprMutator):
    def __init__(self, mod):
        super().__init__(mod)
        self.sums: dict[int, Sums] = {}
        self.emit = self.builder_.emit
        self.taken = 0

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        rule = RULES.get(op_name(call))
        found = rule(self, call) if rule else None
        return call if found is None else found

    def bound(self, expr):
        """Return what a variable of the new function is bound to, through copies."""
        while isinstance(expr, relax.Var):
            value = self.lookup_binding(expr)
            if value is None:
                return expr
            expr = value
        return expr

    def sums_of(self, expr) -> Sums | None:
        """Return the integers that a value is made of."""
        while isinstance(expr, relax.Var):
            if hash(expr) in self.sums:
                return self.sums[hash(expr)]
            expr = self.lookup_binding(expr)
        return None

    def remember(self, sums, scale) -> relax.Expr:
        """Return the value of sums, and know it again."""
        value = scaled(self.emit, sums, scale)
        self.sums[hash(value)] = Sums(sums, scale)
        return value


def _matmul(take: _TakeIntegers, call):
    left = activation(take.bound, take.emit, call.args[0])
    if left is None or static_shape(call.args[0]) is None:
        return None
    known_right = weights(take.bound, call.args[1])
    if known_right is None:
        right = activation(take.bound, take.emit, call.args[1])
        if right is None:
            return None
        codes, scale, zero = right.codes, right.scale, right.zero
    else:
        columns = known_right.along(-1)
        if columns is None or known_right.codes.dtype not in (np.int8, np.uint8):
            return None
        codes = relax.const(np.ascontiguousarray(known_right.codes))
        scale, zero = (_constant(values) for values in columns)
    take.taken += 1
    sums = products.matmul(take.emit, left.codes, codes, left.zero, zero)
    return take.remember(sums, times(take.emit, left.scale, scale))


def _conv2d(take: _TakeIntegers, call):
    image = activation(take.bound, take.emit, call.args[0])
    kernel = weights(take.bound, call.args[1])
    attrs = call.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if image is None or kernel is None or layouts != ("NCHW", "OIHW", "NCHW"):
        return None
    channels = kernel.along(0)
    if channels is None or kernel.codes.dtype not in (np.int8, np.uint8):
        return None
    fields = (attrs.strides, attrs.padding, attrs.dilation)
    strides, pads, dilation = (tuple(map(int, field)) for field in fields)
    geometry = products.Geometry(strides, pads, dilation, int(attrs.groups))
    take.taken += 1
    zero, scale = _constant(channels[1]), channels[0].reshape(-1, 1, 1)
    codes = relax.const(np.ascontiguousarray(kernel.codes))
    sums = products.conv2d(take.emit, image.codes, codes, geometry, image.zero, zero)
    return take.remember(sums, times(take.emit, image.scale, _constant(scale)))


def _constant(values: np.ndarray) -> relax.Expr:
    """Return scales or zero points by channel; if all are equal, the one."""
    same = (values == values.flat[0]).all()
    return relax.const(values.reshape(-1)[0] if same else np.ascontiguousarray(values))


def _add(take: _TakeIntegers, call):
    """Add a bias to the integers, if it is some of the same scale."""
    for value, other in (call.args, list(reversed(call.args))):
        found, bias = take.sums_of(value), weights(take.bound, other)
        if found is None or bias is None or bias.codes.dtype != np.int32 or bias.zero.any():
            continue
        scale = known(found.scale)
        if static_shape(call) != static_shape(value) or scale is None:
            continue
        if not np.allclose(bias.scale, scale, rtol=SAME_SCALE, atol=0):
            continue
        return take.remember(take.emit(op.add(found.sums, relax.const(bias.codes))), found.scale)
    return None


def _multiply(take: _TakeIntegers, call):
    """Scale by a number: PyTorch multiplies by the inverse of a scale."""
    found, factor = take.sums_of(call.args[0]), known(call.args[1])
    if found is None or factor is None or factor.size != 1:
        return None
    return take.remember(found.sums, times(take.emit, found.scale, relax.const(factor.reshape(()))))


def _relu(take: _TakeIntegers, call):
    found = take.sums_of(call.args[0])
    if found is None:
        return None
    return take.remember(take.emit(op.maximum(found.sums, relax.const(0, "int32"))), found.scale)


def _reshape(take: _TakeIntegers, call):
    """Look through a view whose channels stay the last axis."""
    found, shape = take.sums_of(call.args[0]), static_shape(call)
    if found is None or shape is None:
        return None
    before = shape_of(call.args[0])
    if len(shape_of(found.scale)) > 1 or (shape_of(found.scale) and shape[-1:] != before[-1:]):
        return None
    return take.remember(take.emit(op.reshape(found.sums, shape)), found.scale)


def _quantize(take: _TakeIntegers, call):
    """Scale integers to others in one step."""
    found, dtype = take.sums_of(call.args[0]), str(call.attrs.out_dtype)
    scale, zero = call.args[1], call.args[2]
    if found is None or dtype not in ("int8", "uint8") or static_shape(scale) != ():
        return None
    if static_shape(zero) != ():
        return None
    return requantized(take.emit, found.sums, ratio(take.emit, found.scale, scale), zero, dtype)


RULES: dict[str, Callable[[_TakeIntegers, relax.Call], relax.Expr | None]] = {
    "matmul": _matmul,
    "nn.conv2d": _conv2d,
    "add": _add,
    "multiply": _multiply,
    "nn.relu": _relu,
    "reshape": _reshape,
    "quantize": _quantize,
}
"""What becomes of an operator on dequantized numbers; None where it stays."""
