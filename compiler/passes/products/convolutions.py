"""Convolutions of one and of three dimensions, as those of two: the machine's gather has two."""

from dataclasses import replace

import numpy as np
from tvm import relax

from ...partition.constraints import LONGEST_SIDE
from ...partition.given import is_given
from ...partition.graph import shape_of, static_shape
from .cut import cut
from .registry import Laid, Making, rewrites


def known(making: Making, call: relax.Call) -> bool:
    """Tell whether a rewrite can take a call: float32 of shapes that are known, not empty.

    Weights that a source gives as integers stay as they are: a rewrite would round them again.
    """
    if is_given(making.graph, call):
        return False
    shapes = [static_shape(expr) for expr in (call, *call.args)]
    types = {str(expr.ty.dtype) for expr in (call, *call.args)}
    return all(shape is not None and 0 not in shape for shape in shapes) and types == {"float32"}


def constant_kernel(making: Making, call: relax.Call, data: str, kernel: str) -> np.ndarray | None:
    """Return the weight of a convolution in these layouts, None of one that no rewrite can take."""
    attrs = call.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    usual = known(making, call) and layouts == (data, kernel, data)
    return making.graph.constant(call.args[1]) if usual else None


def image_of_height_1(making: Making, call: relax.Call, x, weight: np.ndarray, operator, **more):
    """Return the convolution of two dimensions that a call of one is."""
    attrs, pads = call.attrs, [int(pad) for pad in call.attrs.padding]
    batch, channels, width = shape_of(call.args[0])
    flat = operator(
        making.emit(relax.op.reshape(x, (batch, channels, 1, width))),
        making.constant(weight[:, :, None], weight),
        strides=(1, int(attrs.strides[0])),
        padding=(0, pads[0], 0, pads[-1]),
        dilation=(1, int(attrs.dilation[0])),
        groups=int(attrs.groups),
        **more,
    )
    return making.builder.normalize(flat)


@rewrites("nn.conv1d")
def conv1d(making: Making, call: relax.Call, args: list):
    """An image of height 1."""
    weight = constant_kernel(making, call, "NCW", "OIW")
    if weight is None:
        return None
    flat = image_of_height_1(making, call, args[0], weight, relax.op.nn.conv2d)
    shape, found = shape_of(call), cut(making, flat, *flat.args)
    if found is None:
        return relax.op.reshape(making.emit(flat), shape)

    def lay(parts: list):
        return relax.op.reshape(making.emit(found.lay(parts)), shape)

    return making.laid_out(call, replace(found, lay=lay))


@rewrites("nn.conv3d")
def conv3d(making: Making, call: relax.Call, args: list):
    """An image for each slice of the result, whose channels are the slices that its kernel reaches.

    So the sum over the depth is the array's, like that over channels; the host gathers slices.
    """
    attrs, weight = call.attrs, constant_kernel(making, call, "NCDHW", "OIDHW")
    if weight is None:
        return None
    batch, channels, _, height, width = shape_of(call.args[0])
    out, inside, taps = weight.shape[:3]
    depth = shape_of(call)[2]
    pads = [int(pad) for pad in attrs.padding]
    front, top, left, back, bottom, right = pads if len(pads) == 6 else [*pads, *pads]
    (stride, *strides), (step, *dilation) = map(list, (attrs.strides, attrs.dilation))
    x = args[0]
    if front or back:
        x = making.emit(relax.op.nn.pad(x, [0, 0, 0, 0, front, back, 0, 0, 0, 0]))
    slices = np.arange(depth)[:, None] * int(stride) + np.arange(taps) * int(step)
    # A kernel that is one slice after the other reads every slice once, in order.
    if not np.array_equal(slices.ravel(), np.arange(shape_of(x)[2])):
        x = making.emit(relax.op.take(x, relax.const(slices.ravel()), axis=2, mode="clip"))
    x = making.emit(relax.op.reshape(x, (batch, channels, depth, taps, height, width)))
    x = making.emit(relax.op.permute_dims(x, (0, 2, 1, 3, 4, 5)))
    x = making.emit(relax.op.reshape(x, (batch * depth, channels * taps, height, width)))
    y = making.emit(
        relax.op.nn.conv2d(
            x,
            making.constant(weight.reshape(out, inside * taps, *weight.shape[3:]), weight),
            strides=[int(s) for s in strides],
            padding=(top, left, bottom, right),
            dilation=[int(d) for d in dilation],
            groups=int(attrs.groups),
        )
    )
    size = (batch, depth, *shape_of(y)[1:])

    def lay(parts: list):
        slices = making.emit(relax.op.reshape(parts[0], size))
        return relax.op.permute_dims(slices, (0, 2, 1, 3, 4))

    return making.laid_out(call, Laid((y,), (np.arange(out),), lay))


@rewrites("nn.conv2d")
def conv2d(making: Making, call: relax.Call, args: list):
    """Itself, but in pieces where a side is too long."""
    long = max(static_shape(call.args[0]) or (0,)) > LONGEST_SIDE
    if not long or constant_kernel(making, call, "NCHW", "OIHW") is None:
        return None
    found = cut(making, call, *args)
    return None if found is None else making.laid_out(call, found)
