"""Sums: residuals, biases, means and average pooling, of integers under one scale."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from .. import kernels
from ..codes import Codes, step_for
from ..emission import WHOLE, WIDE, Emission
from ..reference import MOST
from .registry import rule

DEEP = (1 << 28) - 1
"""Codes that a summand has at most over the samples; there's room for four times that."""


def _with_constant(
    emission: Emission, expr: relax.Expr, numbers: np.ndarray, sign: int = 1
) -> Codes:
    """Add numbers to a value, or to minus it, in the scale of the sums, as a bias is."""
    value = emission.bounded(emission.codes(expr), WHOLE)
    value = Codes(value.codes, sign * value.scale, value.limit)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(numbers / value.scale)
    if not np.abs(codes).max(initial=0) <= WHOLE or not value.scale.all():
        value = emission.scaled(value, step_for(emission.range(expr), WIDE), WIDE)
        codes = np.clip(np.rint(numbers / value.scale), -WHOLE, WHOLE)
    constant = relax.const(codes.astype(np.int32))
    limit = value.limit + int(np.abs(codes).max(initial=0))
    return Codes(emission.emit(op.add(value.codes, constant)), value.scale, limit)


def _step(emission: Emission, var: relax.Var, summands: list) -> float:
    """Return the scale of a sum: 16 bits of the smaller summand, so that a mask costs none."""
    sizes = [size for size in map(emission.range, summands) if size > 0]
    finest = max([emission.range(var), *sizes], default=0.0) / DEEP
    return max(step_for(min(sizes, default=0.0), WIDE), finest)


def _sum(emission: Emission, var, call, sign: int) -> Codes:
    """Rescale both summands to one scale, and add integers (HAWQ-V3, residuals)."""
    left, right = call.args
    constants = [emission.known(each) for each in (left, right)]
    if constants[1] is not None:
        return _with_constant(emission, left, sign * constants[1])
    if constants[0] is not None and sign > 0:
        return _with_constant(emission, right, constants[0])
    if constants[0] is not None:
        return _with_constant(emission, right, constants[0], -1)
    scale = _step(emission, var, [left, right])
    one, other = (emission.scaled(emission.codes(each), scale, WHOLE) for each in (left, right))
    operator = op.add if sign > 0 else op.subtract
    limit = one.limit + other.limit
    return Codes(emission.emit(operator(one.codes, other.codes)), one.scale, limit)


@rule("add")
def add(emission: Emission, var, call) -> Codes:
    """Add integers under one scale."""
    return _sum(emission, var, call, 1)


@rule("subtract")
def subtract(emission: Emission, var, call) -> Codes:
    """Subtract integers under one scale."""
    return _sum(emission, var, call, -1)


def _summand(emission: Emission, expr: relax.Expr, count: int) -> Codes:
    """Return a value of which 32 bits hold a sum of `count`."""
    limit = MOST // count
    value = emission.int32(emission.wide(expr))
    if value.limit <= limit:
        return value
    limit = min(limit, WIDE)
    return emission.scaled(value, step_for(emission.range(expr), limit), limit)


@rule("mean", "sum")
def mean(emission: Emission, _var, call) -> Codes:
    """Sum integers; how many they are goes into the scale of a mean."""
    shape = shape_of(call.args[0])
    given = call.attrs.axis
    axes = list(range(len(shape))) if given is None else [int(axis) for axis in given]
    count = int(np.prod([shape[axis] for axis in axes]))
    value = _summand(emission, call.args[0], count)
    total = emission.emit(op.sum(value.codes, axes, bool(call.attrs.keepdims)))
    divisor = count if call.op.name == "relax.mean" else 1
    return Codes(total, value.scale / divisor, value.limit * count)


@rule("nn.adaptive_avg_pool2d")
def adaptive(emission: Emission, var, call) -> Codes:
    """Sum images; how many pixels they have goes into the scale."""
    shape = shape_of(call.args[0])
    if str(call.attrs.layout) != "NCHW" or shape_of(var)[2:] != (1, 1):
        raise UnsupportedError("allowed: NCHW images, and one pixel of each")
    count = shape[2] * shape[3]
    value = _summand(emission, call.args[0], count)
    total = emission.emit(op.sum(value.codes, [2, 3], True))
    return Codes(total, value.scale / count, value.limit * count)


@rule("nn.avg_pool2d")
def average(emission: Emission, var, call) -> Codes:
    """Sum windows; how many pixels each has goes into the scale."""
    attrs = call.attrs
    window, strides, pads, dilation = (
        tuple(map(int, field))
        for field in (attrs.pool_size, attrs.strides, attrs.padding, attrs.dilation)
    )
    if str(attrs.layout) != "NCHW" or dilation != (1, 1):
        raise UnsupportedError("allowed: NCHW images, and no dilation")
    shape, made = shape_of(call.args[0])[2:], shape_of(var)[2:]
    counts = np.ones(made)
    for axis in (0, 1):
        size = shape[axis] + pads[axis] + pads[axis + 2]
        first = np.arange(made[axis]) * strides[axis]
        if first[-1] + window[axis] > size:
            raise UnsupportedError("allowed: windows that end inside of the padded image")
        first = first - pads[axis]
        inside = np.minimum(first + window[axis], shape[axis]) - np.maximum(first, 0)
        along = np.full(made[axis], window[axis]) if attrs.count_include_pad else inside
        counts = counts * along.reshape((-1, 1) if axis == 0 else (1, -1))
    value = _summand(emission, call.args[0], window[0] * window[1])
    total = emission.kernel(
        "windows", lambda x: kernels.window_sums(x, window, strides, pads, made), value.codes
    )
    each = counts.reshape(-1)[0] if (counts == counts[0, 0]).all() else counts
    return Codes(total, value.scale / each, value.limit * window[0] * window[1])
