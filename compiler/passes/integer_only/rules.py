"""What becomes of each operator of fp32 in integers."""

import math
from collections.abc import Callable

import numpy as np
from tvm import ir, relax
from tvm.relax import op

from ....target.errors import UnsupportedError
from ...partition.graph import shape_of
from . import kernels
from .codes import Codes, dyadic_number, step_for
from .emission import BYTE, WHOLE, WIDE, Emission
from .reference import MOST

Rule = Callable[[Emission, relax.Var, relax.Call], Codes]
RULES: dict[str, Rule] = {}
"""By operator."""

UNIT, BITS = 64, 10
"""What stands for 1 in the argument of an exponential, and the bits of its powers of two.

I-ViT has 15 and 23 bits. A reciprocal of 31 bits has as many as the sum lacks: with a sum of 30
bits it would be 1, 2 or 3, so powers of 16 bits are more exact.
"""
LONGEST = 1 << 14
"""Numbers of a softmax whose powers have a sum of 31 bits."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register what becomes of operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def known(expr: relax.Expr) -> np.ndarray | None:
    """Return a constant's value in fp64, None of anything else."""
    return expr.value.numpy().astype(np.float64) if isinstance(expr, ir.GenericConst) else None


def quantized_weight(weight: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 weights and their scales, one for each output channel (HAWQ-V3)."""
    scale = np.abs(weight).max(axes, keepdims=True) / BYTE
    scale[scale == 0] = 1.0
    return np.rint(weight / scale).astype(np.int8), scale


@rule("matmul")
def _matmul(emission: Emission, _var, call) -> Codes:
    left, weight = emission.narrow(call.args[0]), known(call.args[1])
    if weight is None:
        right = emission.narrow(call.args[1])
        sums = emission.emit(op.matmul(left.codes, right.codes, out_dtype="int32"))
        return Codes(sums, left.scale * right.scale)
    codes, scale = quantized_weight(weight, (-2,))
    sums = emission.emit(op.matmul(left.codes, relax.const(codes), out_dtype="int32"))
    return Codes(sums, left.scale * scale.reshape(scale.shape[-1]))


@rule("nn.conv2d")
def _conv2d(emission: Emission, _var, call) -> Codes:
    image, weight, attrs = emission.narrow(call.args[0]), known(call.args[1]), call.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if weight is None or layouts != ("NCHW", "OIHW", "NCHW"):
        raise UnsupportedError("a convolution of NCHW images with constant OIHW weights is needed")
    codes, scale = quantized_weight(weight, (1, 2, 3))
    fields = (attrs.strides, attrs.padding, attrs.dilation)
    geometry = [tuple(map(int, field)) for field in fields]
    sums = op.nn.conv2d(
        image.codes, relax.const(codes), *geometry, int(attrs.groups), out_dtype="int32"
    )
    return Codes(emission.emit(sums), image.scale * scale[:, :, 0, 0][:, :, None])


def _with_constant(emission: Emission, var: relax.Var, numbers: np.ndarray) -> Codes:
    """Add numbers in the scale of the sums, as a bias is."""
    value = emission.int32(emission.codes(var))
    codes = np.rint(numbers / value.scale)
    if np.abs(codes).max(initial=0) > WHOLE or not value.scale.all():
        value = emission.scaled(value, step_for(emission.largest[hash(var)], WIDE), WIDE)
        codes = np.clip(np.rint(numbers / value.scale), -WHOLE, WHOLE)
    constant = relax.const(codes.astype(np.int32))
    return Codes(emission.emit(op.add(value.codes, constant)), value.scale)


def _sum(emission: Emission, var, call, sign: int) -> Codes:
    """Rescale both summands to the scale of the sum, and add integers (HAWQ-V3, residuals)."""
    left, right = call.args
    constants = known(left), known(right)
    if constants[1] is not None:
        return _with_constant(emission, left, sign * constants[1])
    if constants[0] is not None and sign > 0:
        return _with_constant(emission, right, constants[0])
    scale = step_for(emission.largest[hash(var)], WIDE)
    one, other = (emission.scaled(emission.codes(each), scale, WHOLE) for each in (left, right))
    operator = op.add if sign > 0 else op.subtract
    return Codes(emission.emit(operator(one.codes, other.codes)), one.scale)


@rule("add")
def _add(emission: Emission, var, call) -> Codes:
    return _sum(emission, var, call, 1)


@rule("subtract")
def _subtract(emission: Emission, var, call) -> Codes:
    if known(call.args[0]) is not None:
        raise UnsupportedError("a constant minus a value")
    return _sum(emission, var, call, -1)


def _times(emission: Emission, var: relax.Var, numbers: np.ndarray) -> Codes:
    value = emission.codes(var)
    if numbers.size == 1:
        return Codes(value.codes, value.scale * float(numbers.reshape(())))
    axes = numbers.ndim
    while axes and numbers.shape[0] == 1:
        numbers, axes = numbers[0], axes - 1
    if axes > len(shape_of(var)):
        raise UnsupportedError("a product with a constant of more axes")
    return Codes(value.codes, value.scale * numbers)


@rule("multiply")
def _multiply(emission: Emission, _var, call) -> Codes:
    left, right = call.args
    for one, other in ((left, right), (right, left)):
        if (numbers := known(other)) is not None:
            return _times(emission, one, numbers)
    factors = [emission.int32(emission.narrow(each)) for each in (left, right)]
    product = emission.emit(op.multiply(factors[0].codes, factors[1].codes))
    return Codes(product, factors[0].scale * factors[1].scale)


@rule("divide")
def _divide(emission: Emission, _var, call) -> Codes:
    numbers = known(call.args[1])
    if numbers is None:
        raise UnsupportedError("a quotient of two values")
    return _times(emission, call.args[0], 1 / numbers)


def _upright(emission: Emission, var: relax.Var) -> Codes:
    """Return a value whose integers are in order as its numbers are."""
    value = emission.codes(var)
    if (value.scale > 0).all():
        return value
    return emission.scaled(value, step_for(emission.largest[hash(var)], WIDE), WIDE)


@rule("nn.relu")
def _relu(emission: Emission, _var, call) -> Codes:
    value = _upright(emission, call.args[0])
    zero = relax.const(0, str(value.codes.ty.dtype))
    return Codes(emission.emit(op.maximum(value.codes, zero)), value.scale)


@rule("clip")
def _clip(emission: Emission, _var, call) -> Codes:
    value = emission.int32(emission.wide(call.args[0]))
    low, high = (np.clip(float(each.value), -1e30, 1e30) for each in call.args[1:3])
    bounds = [int(np.clip(np.rint(each / value.scale), -WHOLE, WHOLE)) for each in (low, high)]
    least = emission.emit(op.maximum(value.codes, relax.const(bounds[0], "int32")))
    return Codes(emission.emit(op.minimum(least, relax.const(bounds[1], "int32"))), value.scale)


@rule("reshape", "permute_dims", "squeeze", "expand_dims", "flatten", "strided_slice")
def _moved(emission: Emission, _var, call) -> Codes:
    value = emission.wide(call.args[0])
    if value.scale < 0:
        value = _upright(emission, call.args[0])
    moved = relax.Call(call.op, [value.codes, *call.args[1:]], call.attrs, call.ty_args)
    return Codes(emission.emit(moved), value.scale)


@rule("mean")
def _mean(emission: Emission, _var, call) -> Codes:
    """Sum integers; how many they are goes into the scale."""
    value = emission.int32(emission.wide(call.args[0]))
    shape = shape_of(call.args[0])
    axes = [int(axis) for axis in call.attrs.axis]
    total = emission.emit(op.sum(value.codes, axes, bool(call.attrs.keepdims)))
    count = int(np.prod([shape[axis] for axis in axes]))
    return Codes(total, value.scale / count)


@rule("nn.max_pool2d")
def _max_pool(emission: Emission, _var, call) -> Codes:
    value = emission.narrow(call.args[0])
    return Codes(emission.emit(relax.Call(call.op, [value.codes], call.attrs)), value.scale)


@rule("nn.softmax")
def _softmax(emission: Emission, _var, call) -> Codes:
    shape = shape_of(call.args[0])
    if int(call.attrs.axis) % len(shape) != len(shape) - 1:
        raise UnsupportedError("a softmax along another axis than the last")
    if shape[-1] > LONGEST:
        raise UnsupportedError(f"a softmax of {shape[-1]} numbers; allowed: {LONGEST}")
    value = emission.scaled(emission.codes(call.args[0]), 1 / UNIT, 1 << 24)
    codes = emission.kernel("shiftmax", lambda x: kernels.shiftmax(x, UNIT, BITS), value.codes)
    return Codes(codes, np.asarray(1 / 128))


def _gated(emission: Emission, var: relax.Var, slope: float) -> Codes:
    scale = step_for(emission.largest[hash(var)], WIDE)
    value = emission.scaled(emission.codes(var), scale, WIDE)
    factor, shift = (int(each) for each in dyadic_number(slope * scale * UNIT))
    codes = emission.kernel(
        "gated", lambda x: kernels.gated(x, factor, shift, UNIT, BITS), value.codes
    )
    return Codes(codes, np.asarray(scale / (1 << 15)))


@rule("nn.gelu", "nn.gelu_tanh")
def _gelu(emission: Emission, _var, call) -> Codes:
    return _gated(emission, call.args[0], 1.702)


@rule("nn.silu")
def _silu(emission: Emission, _var, call) -> Codes:
    return _gated(emission, call.args[0], 1.0)


def _norm(emission: Emission, var, call, weight, bias, center: bool) -> Codes:
    x = call.args[0]
    length, largest = shape_of(x)[-1], emission.largest[hash(x)] or 1.0
    epsilon = float(call.attrs.epsilon)
    # The squares of a row and epsilon have to fit 32 bits together.
    limit = math.isqrt(int(MOST / (length * (1 + epsilon / largest**2)))) - 2
    if [int(axis) for axis in call.attrs.axes] not in (
        [-1],
        [len(shape_of(x)) - 1],
    ) or limit < BYTE:
        raise UnsupportedError("a norm over other axes than the last, or over too many numbers")
    value = emission.scaled(emission.codes(x), largest / limit, limit)
    constant = round(epsilon * length / (largest / limit) ** 2)
    codes = emission.kernel(
        "norm", lambda x: kernels.norm(x, constant, center), emission.int32(value).codes
    )
    if weight is None or (bias is None and center):
        raise UnsupportedError("a norm with weights known at run time")
    normed = Codes(codes, weight * math.sqrt(length) / (1 << 30))
    scale = step_for(emission.largest[hash(var)], WIDE)
    offset = None if bias is None else np.rint(bias / scale)
    return emission.scaled(normed, scale, WIDE, offset)


@rule("nn.layer_norm")
def _layer_norm(emission: Emission, var, call) -> Codes:
    return _norm(emission, var, call, known(call.args[1]), known(call.args[2]), True)


@rule("nn.rms_norm")
def _rms_norm(emission: Emission, var, call) -> Codes:
    return _norm(emission, var, call, known(call.args[1]), None, False)
