"""Products: int8 by int8 on the array, constants into scales, and values by values."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from ..codes import Codes
from ..emission import BYTE, Emission
from ..reference import MOST
from .registry import rule


def quantized_weight(weight: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 weights and their scales, one for each output channel (HAWQ-V3)."""
    scale = np.abs(weight).max(axes, keepdims=True) / BYTE
    scale[scale == 0] = 1.0
    return np.rint(weight / scale).astype(np.int8), scale


def _limit(left: Codes, right: int, length: int) -> int:
    """Return the largest sum of `length` products.

    Raises
    ------
    UnsupportedError
        When 32 bits don't hold it.
    """
    if (limit := left.limit * right * length) > MOST:
        allowed = MOST // (left.limit * right)
        raise UnsupportedError(f"sums of {length} products; allowed: {allowed} at most")
    return limit


@rule("matmul")
def matmul(emission: Emission, _var, call) -> Codes:
    """Multiply int8 by int8; sums stay as they are.

    Constant weights take over the scales of what they're multiplied with.
    """
    weight, length = emission.known(call.args[1]), shape_of(call.args[0])[-1]
    if weight is None:
        left = emission.narrow(call.args[0])
        right = emission.narrow(call.args[1])
        sums = emission.emit(op.matmul(left.codes, right.codes, out_dtype="int32"))
        return Codes(sums, left.scale * right.scale, _limit(left, right.limit, length))
    left = emission.narrow_channels(call.args[0])
    each = np.broadcast_to(left.scale, (length,))
    codes, scale = quantized_weight(weight * each[:, None], (-2,))
    if scale.size != scale.shape[-1]:
        raise UnsupportedError("a stack of constant weights; allowed: one matrix")
    sums = emission.emit(op.matmul(left.codes, relax.const(codes), out_dtype="int32"))
    return Codes(sums, scale.reshape(scale.shape[-1]), _limit(left, BYTE, length))


@rule("nn.conv2d")
def conv2d(emission: Emission, _var, call) -> Codes:
    """Multiply int8 by int8; sums stay as they are."""
    image, weight, attrs = emission.narrow(call.args[0]), emission.known(call.args[1]), call.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if weight is None or layouts != ("NCHW", "OIHW", "NCHW"):
        raise UnsupportedError("allowed: NCHW images and constant OIHW weights")
    codes, scale = quantized_weight(weight, (1, 2, 3))
    fields = (attrs.strides, attrs.padding, attrs.dilation)
    geometry = [tuple(map(int, field)) for field in fields]
    sums = op.nn.conv2d(
        image.codes, relax.const(codes), *geometry, int(attrs.groups), out_dtype="int32"
    )
    limit = _limit(image, BYTE, weight[0].size)
    return Codes(emission.emit(sums), image.scale * scale[:, :, 0, 0][:, :, None], limit)


def times(emission: Emission, expr: relax.Expr, numbers: np.ndarray, var: relax.Var) -> Codes:
    """Multiply by constants: in the scale alone."""
    value = emission.codes(expr)
    while numbers.ndim and numbers.shape[0] == 1:
        numbers = numbers[0]
    grows = shape_of(var) != shape_of(expr)
    if numbers.ndim > len(shape_of(var)) or grows:
        raise UnsupportedError("a constant that makes the value larger; allowed: one that doesn't")
    return Codes(value.codes, value.scale * numbers, value.limit)


@rule("multiply")
def multiply(emission: Emission, var, call) -> Codes:
    """Multiply the integers, each of 8 bits, and the scales."""
    left, right = call.args
    for one, other in ((left, right), (right, left)):
        if (numbers := emission.known(other)) is not None:
            return times(emission, one, numbers, var)
    factors = [emission.int32(emission.narrow(each)) for each in (left, right)]
    product = emission.emit(op.multiply(factors[0].codes, factors[1].codes))
    limit = factors[0].limit * factors[1].limit
    return Codes(product, factors[0].scale * factors[1].scale, limit)


@rule("divide")
def divide(emission: Emission, var, call) -> Codes:
    """Divide by constants: in the scale alone."""
    numbers = emission.known(call.args[1])
    if numbers is None or not numbers.all():
        raise UnsupportedError("allowed: a constant divisor other than 0")
    return times(emission, call.args[0], 1 / numbers, var)


@rule("negative")
def negative(emission: Emission, _var, call) -> Codes:
    """Turn the scale round."""
    value = emission.codes(call.args[0])
    return Codes(value.codes, -value.scale, value.limit)
