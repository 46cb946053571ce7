"""Operators with a window that moves over an input: what their pads are, and pooling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from .....target.errors import UnsupportedError
from . import converter
from .theirs import by_tvm
from .values import const, dtype_of, given, pixels_of, rank_of, shape_of, text


@dataclass(frozen=True)
class Window:
    """A window along each spatial axis.

    Attributes
    ----------
    before, after : list of int
        Pads.
    beyond : list of int
        What ``ceil_mode`` lets the last window read after them.
    sizes : list of int
        Of the result.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    beyond: list[int]
    sizes: list[int]


def window(
    operator: str, sizes: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any]
) -> Window:
    """Return the window of a convolution or a pooling over an input of some sizes.

    Raises
    ------
    UnsupportedError
        For a window that is larger than what it moves over.
    """
    rank = len(sizes)
    strides = list(attributes.get("strides", [1] * rank))
    dilations = list(attributes.get("dilations", [1] * rank))
    pads = list(attributes.get("pads", [0] * (2 * rank)))
    mode = text(attributes, "auto_pad", "NOTSET")
    taps, before, after, beyond, results = [], [], [], [], []
    for axis, size in enumerate(sizes):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        stride = strides[axis]
        head, tail = (pads[axis], pads[rank + axis]) if mode == "NOTSET" else (0, 0)
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            head = total // 2 if mode == "SAME_UPPER" else total - total // 2
            tail = total - head
        room = size + head + tail - reach
        count = room // stride + 1
        if attributes.get("ceil_mode"):
            count = -(-room // stride) + 1
            # A window that would begin in the pads behind the input is none.
            count -= (count - 1) * stride >= size + head
        if count < 1:
            raise UnsupportedError(
                f"{operator}: its window of {reach} is larger than axis {axis + 2} of its input, "
                f"{size} and pads of {head} and {tail}"
            )
        taps.append(kernel[axis])
        if room < 0 and dilations[axis] == 1:
            # The only window: more of it than there is to cover counts nowhere.
            taps[axis], room = size + head + tail, 0
        before.append(head)
        after.append(tail)
        beyond.append(max((count - 1) * stride - room, 0))
        results.append(count)
    return Window(taps, strides, dilations, before, after, beyond, results)


@converter("Conv")
def _conv(builder, inputs, attributes, opset):
    sizes = pixels_of(inputs[0])
    kernel = pixels_of(inputs[1])
    if len(sizes) > 3:
        raise UnsupportedError(f"Conv: {len(sizes)} spatial dimensions; allowed: 1 to 3")
    at = window("Conv", sizes, kernel, attributes)
    plain = {name: value for name, value in attributes.items() if name != "auto_pad"}
    plain |= {"pads": at.before + at.after, "kernel_shape": list(kernel)}
    return by_tvm("Conv", builder, inputs, plain, opset)


@converter("ConvTranspose")
def _conv_transpose(builder, inputs, attributes, opset):
    sizes = pixels_of(inputs[0])
    kernel = pixels_of(inputs[1])
    rank = len(sizes)
    if rank > 3:
        raise UnsupportedError(f"ConvTranspose: {rank} spatial dimensions; allowed: 1 to 3")
    strides = list(attributes.get("strides", [1] * rank))
    dilations = list(attributes.get("dilations", [1] * rank))
    extra = list(attributes.get("output_padding", [0] * rank))
    pads = list(attributes.get("pads", [0] * (2 * rank)))
    wanted = list(attributes.get("output_shape", ()))[-rank:]
    mode = text(attributes, "auto_pad", "NOTSET")
    if not wanted and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    missing = [0] * rank
    if mode == "VALID":
        pads = [0] * (2 * rank)
    for axis, size in enumerate(wanted):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        total = strides[axis] * (sizes[axis] - 1) + extra[axis] + reach - size
        # What no input reaches is zeros.
        missing[axis], total = max(-total, 0), max(total, 0)
        head = total // 2 if mode == "SAME_UPPER" else total - total // 2
        pads[axis], pads[rank + axis] = head, total - head
    dropped = ("auto_pad", "output_shape")
    plain = {name: value for name, value in attributes.items() if name not in dropped}
    plain |= {"pads": pads, "kernel_shape": list(kernel)}
    result = by_tvm("ConvTranspose", builder, inputs[:2], plain, opset)
    if any(missing):
        ends = [0, 0, 0, 0] + [end for axis in range(rank) for end in (0, missing[axis])]
        result = relax.op.nn.pad(builder.emit(result), ends)
    bias = given(inputs, 2)
    if bias is None:
        return result
    return relax.op.add(builder.emit(result), relax.op.reshape(bias, [1, -1] + [1] * rank))


def _rank_of(operator: str, x: relax.Expr) -> int:
    rank = rank_of(x) - 2
    if not 1 <= rank <= 3:
        raise UnsupportedError(f"{operator}: {rank} spatial dimensions; allowed: 1 to 3")
    return rank


@converter("MaxPool")
def _max_pool(builder, inputs, attributes, _opset):
    (x,) = inputs
    rank = _rank_of("MaxPool", x)
    at = window("MaxPool", pixels_of(x), attributes["kernel_shape"], attributes)
    if attributes["tvm_custom"]["num_outputs"] > 1:
        return _max_and_place(builder, x, at, bool(attributes.get("storage_order", 0)))
    pads = at.before + [tail + more for tail, more in zip(at.after, at.beyond, strict=True)]
    op = getattr(relax.op.nn, f"max_pool{rank}d")
    return op(x, at.kernel, at.strides, pads, at.dilations)


@converter("AveragePool")
def _average_pool(builder, inputs, attributes, _opset):
    (x,) = inputs
    rank = _rank_of("AveragePool", x)
    sizes = pixels_of(x)
    at = window("AveragePool", sizes, attributes["kernel_shape"], attributes)
    behind = [tail + more for tail, more in zip(at.after, at.beyond, strict=True)]
    if any(at.before + behind):
        ends = [end for pair in zip(at.before, behind, strict=True) for end in pair]
        x = builder.emit(relax.op.nn.pad(x, [0, 0, 0, 0, *ends]))
    op = getattr(relax.op.nn, f"avg_pool{rank}d")
    result = op(x, at.kernel, at.strides, 0, at.dilations)
    counts = np.ones(())
    for axis, size in enumerate(sizes):
        # What a window reads of the input, or of it and its pads, but never of what lies beyond.
        low, high = 0, size
        if attributes.get("count_include_pad"):
            low, high = -at.before[axis], size + at.after[axis]
        first = np.arange(at.sizes[axis])[:, None] * at.strides[axis] - at.before[axis]
        reads = first + np.arange(at.kernel[axis]) * at.dilations[axis]
        counts = counts[..., None] * ((reads >= low) & (reads < high)).sum(1)
    if (counts == math.prod(at.kernel)).all():
        return result
    share = const(math.prod(at.kernel) / counts, dtype_of(x))
    return relax.op.multiply(builder.emit(result), share)


def _max_and_place(builder, x: relax.Expr, at: Window, by_column: bool) -> relax.Expr:
    """Return the largest of each window, and where it is in the flat input."""
    shape = shape_of(x)
    places = np.arange(math.prod(shape)).reshape(shape)
    if by_column:
        inner = np.arange(math.prod(shape[2:])).reshape(shape[2:], order="F")
        places = (
            places.reshape(*shape[:2], -1)[..., :1, None].reshape(*shape[:2], *[1] * len(shape[2:]))
            + inner
        )
    ends = [
        (head, tail + more) for head, tail, more in zip(at.before, at.after, at.beyond, strict=True)
    ]
    places = np.pad(places, [(0, 0), (0, 0), *ends])
    dtype = dtype_of(x)
    low = -np.inf if "float" in dtype else np.iinfo(dtype).min
    flat = [0, 0, 0, 0] + [end for pair in ends for end in pair]
    padded = builder.emit(relax.op.nn.pad(x, flat, pad_value=low))
    best = place = None
    axes = list(range(2, len(shape)))
    for offset in np.ndindex(*at.kernel):
        begin = [o * d for o, d in zip(offset, at.dilations, strict=True)]
        end = [
            b + (count - 1) * s + 1 for b, count, s in zip(begin, at.sizes, at.strides, strict=True)
        ]
        value = builder.emit(relax.op.strided_slice(padded, axes, begin, end, at.strides))
        inside = tuple(slice(*each) for each in zip(begin, end, at.strides, strict=True))
        here = const(places[(slice(None), slice(None), *inside)], "int64")
        if best is None:
            best, place = value, here
            continue
        more = builder.emit(relax.op.greater(value, best))
        best = builder.emit(relax.op.where(more, value, best))
        place = builder.emit(relax.op.where(more, here, place))
    return relax.Tuple([best, place])
