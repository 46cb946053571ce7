"""Matrix products and convolutions of integers with zero points."""

from dataclasses import dataclass, replace

import numpy as np
from tvm import relax
from tvm.relax import op

from ...partition.graph import shape_of
from .arithmetic import (
    Codes,
    Emit,
    centered,
    codes_of,
    corrected,
    expression,
    known,
    part,
    total,
)


def matmul(emit: Emit, a, b, zero_a=None, zero_b=None) -> relax.Expr:
    """Return ``(a - zero_a) @ (b - zero_b)`` in int32, as NumPy's matmul.

    Parameters
    ----------
    a, b : relax.Expr
        int8 or uint8.
    zero_a : relax.Expr, optional
        One, or one for each row ``(rows,)`` or ``(..., rows, 1)``.
    zero_b : relax.Expr, optional
        One, or one for each column ``(columns,)`` or ``(..., 1, columns)``.
    """
    vectors = len(shape_of(a)) == 1, len(shape_of(b)) == 1
    a = emit(op.expand_dims(a, 0)) if vectors[0] else a
    b = emit(op.expand_dims(b, 1)) if vectors[1] else b
    rows = (-1, 1) if zero_a is None or len(shape_of(zero_a)) < 2 else shape_of(zero_a)
    columns = None if zero_b is None else shape_of(zero_b)
    left, right = codes_of(emit, a, zero_a, rows), centered(codes_of(emit, b, zero_b, columns))
    length, width = shape_of(right.codes)[-2:]
    weight, of_a = known(right.codes), None
    if right.centered:
        sums = emit(op.matmul(left.codes, right.codes, out_dtype="int32"))
    elif weight is not None and weight.ndim == 2:
        wide = np.concatenate([weight, np.ones((length, 1), np.int8)], 1)
        both = emit(op.matmul(left.codes, relax.const(wide), out_dtype="int32"))
        axis = len(shape_of(both)) - 1
        sums, of_a = part(emit, both, axis, 0, width), part(emit, both, axis, width, width + 1)
    else:
        sums = emit(op.matmul(left.codes, right.codes, out_dtype="int32"))
        of_a = total(emit, left.codes, -1)
    of_b = np.zeros((), np.int32) if left.centered else total(emit, right.codes, -2)
    sums = corrected(emit, sums, left.zero, right.zero, length, of_a, of_b)
    dropped = [axis for axis, vector in zip((-2, -1), vectors, strict=True) if vector]
    return emit(op.squeeze(sums, dropped)) if dropped else sums


@dataclass(frozen=True)
class Geometry:
    """Of a 2-D convolution; `pads` are top, left, bottom, right."""

    strides: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


def conv2d(emit: Emit, x, weight, geometry: Geometry, zero_x=None, zero_w=None) -> relax.Expr:
    """Return the convolution of ``x - zero_x`` with ``weight - zero_w`` in int32; NCHW, OIHW.

    Parameters
    ----------
    zero_x : relax.Expr, optional
        One, which is also what the image is padded with.
    zero_w : relax.Expr, optional
        One, or one for each output channel.
    """
    if known(weight) is None:
        return _of_weights_given(emit, x, weight, geometry, zero_x, zero_w)
    image = codes_of(emit, x, zero_x)
    kernel = centered(codes_of(emit, weight, zero_w, (-1, 1, 1, 1)))
    values = known(kernel.codes)
    assert values is not None
    if not image.centered and any(geometry.pads):
        image = replace(image, codes=_padded(emit, image, geometry.pads))
        geometry = replace(geometry, pads=(0, 0, 0, 0))
    out, groups = len(values), geometry.groups
    of_b = values.sum((1, 2, 3), dtype=np.int32)[:, None, None]
    zero = kernel.zero
    if isinstance(zero, np.ndarray) and zero.ndim:
        zero = zero[:, 0]
    elif isinstance(zero, relax.Expr) and len(shape_of(zero)):
        zero = emit(op.reshape(zero, (out, 1, 1)))
    if kernel.centered:
        sums, of_a = _convolved(emit, image.codes, values, geometry), None
    else:
        apart = values.reshape(groups, out // groups, *values.shape[1:])
        ones = np.ones((groups, 1, *values.shape[1:]), np.int8)
        wide = np.concatenate([apart, ones], 1).reshape(-1, *values.shape[1:])
        both = _convolved(emit, image.codes, wide, geometry)
        sums, of_a = _split(emit, both, groups, out // groups)
    length = int(np.prod(values.shape[1:]))
    return corrected(emit, sums, image.zero, zero, length, of_a, of_b)


def _of_weights_given(emit: Emit, x, weight, geometry: Geometry, zero_x, zero_w) -> relax.Expr:
    """Return the convolution with weights that are an input: in int32, on the host."""
    operands = []
    for codes, zero in ((x, zero_x), (weight, zero_w)):
        wide = emit(op.astype(codes, "int32"))
        if zero is not None:
            several = len(shape_of(zero)) > 0 and int(np.prod(shape_of(zero))) > 1
            at = emit(op.reshape(emit(op.astype(zero, "int32")), (-1, 1, 1, 1) if several else ()))
            wide = emit(op.subtract(wide, at))
        operands.append(wide)
    return emit(
        op.nn.conv2d(*operands, geometry.strides, geometry.pads, geometry.dilation, geometry.groups)
    )


def _convolved(emit: Emit, image, values: np.ndarray, geometry: Geometry) -> relax.Expr:
    return emit(
        op.nn.conv2d(
            image,
            relax.const(values),
            geometry.strides,
            geometry.pads,
            geometry.dilation,
            geometry.groups,
            out_dtype="int32",
        )
    )


def _padded(emit: Emit, image: Codes, pads: tuple[int, ...]) -> relax.Expr:
    """Return the codes with their zero point around them."""
    top, left, bottom, right = pads
    width = [0, 0, 0, 0, top, bottom, left, right]
    if isinstance(image.zero, np.ndarray):
        return emit(op.nn.pad(image.codes, width, pad_value=int(image.zero)))
    inner = np.zeros(shape_of(image.codes)[-2:], np.int32)
    around = np.pad(inner, ((top, bottom), (left, right)), constant_values=1)
    frame = emit(op.multiply(relax.const(around), expression(image.zero)))
    wide = emit(op.astype(emit(op.nn.pad(image.codes, width, pad_value=0)), "int32"))
    return emit(op.astype(emit(op.add(wide, frame)), "int8"))


def _split(emit: Emit, both, groups: int, out: int) -> tuple[relax.Expr, relax.Expr]:
    """Return the sums of products, and those of activations repeated for each output channel."""
    batch, _, *pixels = shape_of(both)
    apart = emit(op.reshape(both, (batch, groups, out + 1, *pixels)))
    sums = emit(op.reshape(part(emit, apart, 2, 0, out), (batch, groups * out, *pixels)))
    of_image = part(emit, apart, 2, out, out + 1)
    if groups > 1:
        of_image = emit(op.broadcast_to(of_image, (batch, groups, out, *pixels)))
        return sums, emit(op.reshape(of_image, (batch, groups * out, *pixels)))
    return sums, emit(op.reshape(of_image, (batch, 1, *pixels)))
