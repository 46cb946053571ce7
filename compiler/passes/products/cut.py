"""Convolutions of images too long for the machine's gather, in pieces along their longest side."""

from itertools import pairwise

import numpy as np
from tvm import relax

from ...partition.constraints import LONGEST_SIDE
from ...partition.graph import shape_of
from .registry import Laid, Making


def four(values) -> list[int]:
    """Return the pads of two dimensions in relax's order: before each, then behind each."""
    pads = [int(pad) for pad in values]
    return pads if len(pads) == 4 else [pads[0], pads[-1], pads[0], pads[-1]]


def cut(making: Making, call: relax.Call, x, kernel) -> Laid | None:
    """Return a convolution's pieces, None where there's no need or no way to cut it.

    Parameters
    ----------
    call : relax.Call
        Of `nn.conv2d` in the usual layouts; `x` and `kernel` are its operands now.
    """
    image, result = shape_of(call.args[0]), shape_of(call)
    axis = 2 if image[2] > image[3] else 3
    if image[axis] <= LONGEST_SIDE:
        return None
    attrs, at = call.attrs, axis - 2
    stride, step, pads = int(attrs.strides[at]), int(attrs.dilation[at]), four(attrs.padding)
    reach = step * (shape_of(call.args[1])[axis] - 1) + 1
    most = min(LONGEST_SIDE, (LONGEST_SIDE - reach) // stride + 1)
    if reach > LONGEST_SIDE:
        return None
    count = -(-result[axis] // most)
    ends = [result[axis] * piece // count for piece in range(count + 1)]
    parts = []
    for first, last in pairwise(ends):
        begin = first * stride - pads[at]
        end = (last - 1) * stride - pads[at] + reach
        inside = max(0, begin), min(image[axis], end)
        if inside[0] >= inside[1]:
            return None
        piece = making.emit(relax.op.strided_slice(x, [axis], [inside[0]], [inside[1]]))
        around = list(pads)
        around[at], around[at + 2] = inside[0] - begin, end - inside[1]
        parts.append(making.emit(_with_pads(call, piece, kernel, around)))

    def lay(pieces: list):
        return relax.op.concat(pieces, axis)

    return Laid(tuple(parts), (np.arange(result[1]),) * count, lay)


def _with_pads(call: relax.Call, x, kernel, pads: list[int]) -> relax.Call:
    """Return a convolution of another image, of which other pixels are zeros."""
    attrs = call.attrs
    return relax.op.nn.conv2d(
        x,
        kernel,
        strides=[int(s) for s in attrs.strides],
        padding=pads,
        dilation=[int(d) for d in attrs.dilation],
        groups=int(attrs.groups),
    )
