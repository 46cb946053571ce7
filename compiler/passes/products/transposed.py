"""Transposed convolutions by output phases: no zero that upsampling would insert is multiplied.

Output pixels whose position has one remainder by the stride see the same taps of the kernel, and
those see neighbouring input pixels: each such phase is a convolution of stride 1. Phases that see
the same pixels are one product with more output channels; where the kernel is the stride, all are.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from tvm import relax

from ...partition.graph import shape_of
from .convolutions import constant_kernel, image_of_height_1
from .cut import four
from .registry import Laid, Making, rewrites


@dataclass(frozen=True)
class Taps:
    """What one phase of one dimension sees.

    Attributes
    ----------
    taps : tuple of int
        Of the kernel, in the order of the input pixels that they meet; none in a phase of zeros.
    first : int
        Input position of the first tap for the phase's first output.
    step : int
        Input positions from one tap to the next.
    """

    taps: tuple[int, ...]
    first: int
    step: int

    @property
    def window(self) -> tuple[int, int, int]:
        """What phases of one product have in common."""
        return len(self.taps), self.first, self.step

    def pads(self, outputs: int, inputs: int) -> tuple[int, int]:
        """Return zeros before and behind the input; a negative number is left out instead."""
        last = self.first + outputs - 1 + self.step * (len(self.taps) - 1)
        return -self.first, last - inputs + 1


def phases(kernel: int, stride: int, pad: int, dilation: int) -> list[Taps]:
    """Return what each phase of one dimension sees, from output 0 on."""
    found = []
    for phase in range(stride):
        seen = [k for k in range(kernel) if (phase + pad - k * dilation) % stride == 0]
        at = [(phase + pad - k * dilation) // stride for k in seen]
        step = dilation // math.gcd(stride, dilation)
        # A later tap meets an earlier pixel.
        found.append(Taps(tuple(reversed(seen)), at[-1] if at else 0, step))
    return found


@rewrites("nn.conv2d_transpose")
def conv2d_transpose(making: Making, call: relax.Call, args: list):
    """Products of the phases, woven into one image by the host."""
    attrs, weight = call.attrs, constant_kernel(making, call, "NCHW", "IOHW")
    if weight is None:
        return None
    shape, strides = shape_of(call), [int(s) for s in attrs.strides]
    pads, dilation = four(attrs.padding), [int(d) for d in attrs.dilation]
    rows, columns = (
        phases(weight.shape[2 + axis], strides[axis], pads[axis], dilation[axis])
        for axis in range(2)
    )
    groups = int(attrs.groups)
    # (groups, out / groups, in / groups, kernel): a convolution's order.
    turned = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    whole = [-(-shape[2 + axis] // strides[axis]) for axis in range(2)]
    alike: dict[tuple, list[tuple[int, int]]] = {}
    for y, x in product(range(strides[0]), range(strides[1])):
        alike.setdefault((rows[y].window, columns[x].window), []).append((y, x))
    images: list = []
    channels: list[np.ndarray] = []
    split: list[Split] = []
    for members in alike.values():
        seen = rows[members[0][0]], columns[members[0][1]]
        if all(taps.taps for taps in seen):
            parts = [turned[:, :, :, rows[y].taps][..., columns[x].taps] for y, x in members]
            images.append(_one_product(making, args[0], parts, seen, whole, weight))
            split.append(Split(tuple(members), groups, len(members)))
        else:
            images.append(making.emit(relax.op.zeros((*shape[:2], *whole), "float32")))
            split.append(Split(tuple(members), groups, 1))
        order = np.arange(shape[1]).reshape(groups, 1, -1)
        channels.append(np.repeat(order, split[-1].phases, axis=1).reshape(-1))

    def lay(parts: list):
        return _woven(making, _phases(making, parts, split), strides, whole, shape)

    return making.laid_out(call, Laid(tuple(images), tuple(channels), lay))


@dataclass(frozen=True)
class Split:
    """How one image holds phases: of each group's channels first all of one, then of the next.

    Attributes
    ----------
    members : tuple of (int, int)
        Rows and columns of the phases that it is or holds.
    phases : int
        How many it holds apart; 1 where all are the same.
    """

    members: tuple[tuple[int, int], ...]
    groups: int
    phases: int


def _phases(making: Making, images: list, split: list[Split]) -> dict:
    """Return the image of each phase."""
    found: dict[tuple[int, int], relax.Expr] = {}
    for image, how in zip(images, split, strict=True):
        if how.phases == 1:
            found |= dict.fromkeys(how.members, image)
            continue
        batch, channels, *size = shape_of(image)
        apart = (batch, how.groups, how.phases, channels // how.groups // how.phases, *size)
        both = making.emit(relax.op.reshape(image, apart))
        items = making.emit(relax.op.split(both, how.phases, axis=2))
        for number, member in enumerate(how.members):
            item = making.emit(relax.TupleGetItem(items, number))
            flat = relax.op.reshape(item, (batch, channels // how.phases, *size))
            found[member] = making.emit(flat)
    return found


def _one_product(making: Making, x, parts: list[np.ndarray], seen, whole, weight: np.ndarray):
    """Return the image of phases that see the same pixels, as `Split` has them."""
    x, pads = _fitted(making, x, seen, whole)
    groups, out = parts[0].shape[:2]
    kernel = np.stack(parts, axis=1).reshape(groups * len(parts) * out, *parts[0].shape[2:])
    return making.emit(
        relax.op.nn.conv2d(
            x,
            making.constant(kernel, weight),
            padding=pads,
            dilation=[taps.step for taps in seen],
            groups=groups,
        )
    )


def _fitted(making: Making, x, seen, whole) -> tuple:
    """Return the input without what no tap meets, and the pads that a convolution needs."""
    shape = shape_of(x)
    ends = [taps.pads(whole[axis], shape[2 + axis]) for axis, taps in enumerate(seen)]
    if min(end for both in ends for end in both) < 0:
        begin = [max(0, -before) for before, _ in ends]
        end = [shape[2 + axis] - max(0, -behind) for axis, (_, behind) in enumerate(ends)]
        x = making.emit(relax.op.strided_slice(x, [2, 3], begin, end))
    (top, bottom), (left, right) = ([max(0, end) for end in both] for both in ends)
    return x, (top, left, bottom, right)


def _woven(making: Making, made: dict, strides: list[int], whole: list[int], shape):
    """Return the image whose pixel (s * i + y, s * j + x) is pixel (i, j) of phase (y, x)."""
    if len(made) == 1:
        return made[0, 0]
    batch, channels = shape[:2]
    down, across = strides
    order = [made[y, x] for y in range(down) for x in range(across)]
    y = making.emit(relax.op.stack(order, axis=2))
    y = making.emit(relax.op.reshape(y, (batch, channels, down, across, *whole)))
    y = making.emit(relax.op.permute_dims(y, (0, 1, 4, 2, 5, 3)))
    full = (whole[0] * down, whole[1] * across)
    y = relax.op.reshape(y, (batch, channels, *full))
    if full == tuple(shape[2:]):
        return y
    return relax.op.strided_slice(making.emit(y), [2, 3], [0, 0], list(shape[2:]))


@rewrites("nn.conv1d_transpose")
def conv1d_transpose(making: Making, call: relax.Call, args: list):
    """An image of height 1, by phases of its width."""
    weight = constant_kernel(making, call, "NCW", "IOW")
    if weight is None:
        return None
    shape, more = shape_of(call), (0, int(call.attrs.output_padding[0]))
    flat = image_of_height_1(
        making, call, args[0], weight, relax.op.nn.conv2d_transpose, output_padding=more
    )
    if conv2d_transpose(making, flat, [flat.args[0]]) is None:
        return None
    found = making.laid[hash(flat)]

    def lay(parts: list):
        return relax.op.reshape(making.emit(found.lay(parts)), shape)

    return making.laid_out(call, replace(found, lay=lay))
