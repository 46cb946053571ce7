"""A convolution, as a product with gathered rows."""

import math
from dataclasses import replace

import numpy as np
from tvm import relax

from ....target.formats import ACTIVATION_FORMATS
from ...operators import Conv, Gemm
from ...partition.graph import shape_of
from ...partition.layer import Layer
from .emission import Emission
from .gemm import emit_gemm, product
from .host import emit_behind


def on_array(emission: Emission, layer: Layer):
    """Emit it in integers."""
    op = convolution(emission, layer, layer.matrix.shape)
    if ACTIVATION_FORMATS[op.activation].by_pixel and layer.groups == 1 and not op.by_pixel:
        return emit_gemm(emission, layer, *by_row(emission, layer, op))
    return emit_gemm(emission, layer, op, images(emission, layer, op))


def by_row(emission: Emission, layer: Layer, op: Gemm) -> tuple[Gemm, list]:
    """Return a convolution of one tap over all that each output reads, and its operands.

    So each row has exponents of its own, for blocks of inputs in the order of the weights. The
    price is that an input is quantized and stored once for each tap.
    """
    assert op.conv is not None
    rows = unfolded(emission, emission.visit_expr(layer.x), op.conv)
    conv = Conv(op.k, op.conv.out_height, op.conv.out_width, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1)
    shape = (op.batch, op.k, conv.height, conv.width)
    across = (op.batch, op.k, op.m)
    q, e = emission.quantize(layer, rows, across, min(op.k, op.group), True)
    return replace(op, conv=conv, by_pixel=True), [emission.reshaped(q, shape), e]


def unfolded(emission: Emission, x, conv: Conv):
    """Return ``(batch, channels * taps, out height, out width)`` of images ``(batch, channels,
    height, width)``: what each output reads, zeros outside."""
    batch = shape_of(x)[0]
    if conv.pad_top or conv.pad_bottom or conv.pad_left or conv.pad_right:
        pads = [0, 0, 0, 0, conv.pad_top, conv.pad_bottom, conv.pad_left, conv.pad_right]
        x = emission.emit(relax.op.nn.pad(x, pads))
    one = (batch, conv.channels, 1, conv.out_height, conv.out_width)
    taps = []
    for row, col in np.ndindex(conv.kernel_h, conv.kernel_w):
        begin = [row * conv.dilation_h, col * conv.dilation_w]
        strides = [conv.stride_h, conv.stride_w]
        sizes = (conv.out_height, conv.out_width)
        end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, sizes, strides, strict=True)]
        tap = emission.emit(relax.op.strided_slice(x, [2, 3], begin, end, strides))
        taps.append(emission.reshaped(tap, one))
    every = taps[0] if len(taps) == 1 else emission.emit(relax.op.concat(taps, axis=2))
    channels = conv.channels * conv.kernel_h * conv.kernel_w
    return emission.reshaped(every, (batch, channels, conv.out_height, conv.out_width))


def images(emission: Emission, layer: Layer, op: Gemm) -> list:
    """Return int8 images and their exponents: of each image one for each group of channels.

    Sums of two groups never meet, so one that is loud doesn't take the other's bits. Nor do those
    of two pixels, where an output reads but one.
    """
    shape = shape_of(layer.x)
    if op.by_pixel:
        group = min(shape[1], op.group)
        q, e = emission.quantize(
            layer, emission.visit_expr(layer.x), (*shape[:2], op.m), group, True
        )
        return [emission.reshaped(q, shape), e]
    length = math.prod(shape[1:]) // layer.groups
    rows = (shape[0] * layer.groups, length)
    q, e = emission.quantize(layer, emission.visit_expr(layer.x), rows, length)
    return [emission.reshaped(q, shape), emission.reshaped(e, op.x_exponents)]


def convolution(
    emission: Emission, layer: Layer, kernel: tuple[int, ...], scaled: bool = True
) -> Gemm:
    """Return the operator of a convolution with a kernel ``(out, in / groups, kh, kw)``.

    Parameters
    ----------
    scaled : bool
        Its images are quantized here, so that their exponents may be those of pixels.
    """
    out, channels, kernel_h, kernel_w = kernel
    batch, _, height, width = shape_of(layer.x)
    attrs = layer.call.attrs
    pads = [int(p) for p in attrs.padding]
    pads = pads if len(pads) == 4 else [pads[0], pads[-1], pads[0], pads[-1]]
    strides, dilation = [int(s) for s in attrs.strides], [int(d) for d in attrs.dilation]
    conv = Conv(  # type: ignore[call-arg]  # two of the pads each
        channels, height, width, kernel_h, kernel_w, strides[0], strides[-1], *pads[:2],
        *pads[2:], dilation[0], dilation[-1],
    )  # fmt: skip
    n, k = out // layer.groups, channels * kernel_h * kernel_w
    op = product(emission, layer, batch, conv.out_height * conv.out_width, n, k, conv)
    # Each output reads the pixel of its own place, and all channels of it.
    one = kernel_h * kernel_w == 1 and not any(pads) and op.m == height * width
    return replace(op, by_pixel=scaled and one and layer.groups == 1)


def on_host(emission: Emission, layer: Layer, values: np.ndarray):
    """Emit it with the values of its weights ``(groups, out, in)``."""
    shape = shape_of(layer.x)
    x = emission.rounded(emission.visit_expr(layer.x), shape[0], math.prod(shape[1:]))
    x = emission.reshaped(x, shape)
    weight = relax.const(values.reshape(layer.matrix.shape))
    y = emission.emit(relax.Call(layer.call.op, [x, weight], layer.call.attrs))
    return emit_behind(emission, layer, y, (1, -1, 1, 1))
