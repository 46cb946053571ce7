"""Cumulative sums, scatters, places of extremes, and pools, as reductions that skip elements."""

import math
from collections.abc import Callable

import numpy as np
from tvm import relax, te, tirx, topi

from ...partition.graph import op_name
from .forms import MOST, dtype_in, form, shape_in

INTEGERS = ("bool", "int8", "uint8", "int32", "int64")


@form("cumsum")
def cumsum(builder: relax.BlockBuilder, call: relax.Call):
    """Sum for each place of a row all elements up to it."""
    if call.attrs.axis is None:
        return None
    (x,), shape, dtype = call.args, shape_in(call), dtype_in(call)
    axis, behind = int(call.attrs.axis) % len(shape), int(bool(call.attrs.exclusive))
    if math.prod(shape) * shape[axis] > MOST:
        return None

    def summed(x):
        k = te.reduce_axis((0, shape[axis]), "k")

        def value(*at):
            one = x(*at[:axis], k, *at[axis + 1 :]).astype(dtype)
            counts = k + behind <= at[axis]
            return te.sum(tirx.Select(counts, one, tirx.const(0, dtype)), axis=k)

        return te.compute(shape, value, name="cumsum")

    return builder.call_te(summed, x, primfunc_name_hint="cumsum")


@form("scatter_nd")
def scatter_nd(builder: relax.BlockBuilder, call: relax.Call):
    """Take for each row the last update with its index, or add all of them."""
    data, indices, updates = call.args
    shape, width = shape_in(data), shape_in(indices)[-1]
    rows, columns = math.prod(shape[:width]), math.prod(shape[width:])
    count, add = math.prod(shape_in(indices)[:-1]), str(call.attrs.reduction) == "add"
    looks = rows * count * (columns if add else 1)
    if str(call.attrs.reduction) not in ("update", "add") or not 0 < looks <= MOST:
        return None
    strides = [math.prod(shape[axis + 1 : width]) for axis in range(width)]

    def scattered(data, indices, updates):
        k = te.reduce_axis((0, count), "k")
        data = topi.reshape(data, (rows, columns))
        indices = topi.reshape(indices, (count, width))
        updates = topi.reshape(updates, (count, columns))

        def is_at(row):
            axes = enumerate(strides)
            return sum(indices[k, axis] * stride for axis, stride in axes) == row

        if add:
            out = _added(data, k, lambda row, _: is_at(row), lambda _, at: updates[k, at])
        else:
            number, none = k.astype("int64"), tirx.const(-1, "int64")
            last = te.compute(
                (rows,), lambda row: te.max(tirx.Select(is_at(row), number, none), axis=k), "last"
            )
            out = te.compute(
                (rows, columns),
                lambda row, at: tirx.if_then_else(
                    last[row] >= 0, updates[last[row], at], data[row, at]
                ),
                "scatter_nd",
            )
        return topi.reshape(out, shape)

    return builder.call_te(scattered, data, indices, updates, primfunc_name_hint="scatter_nd")


@form("scatter_elements")
def scatter_elements(builder: relax.BlockBuilder, call: relax.Call):
    """Add for each element all updates with its index."""
    data, indices, updates = call.args
    shape, count = shape_in(data), shape_in(indices)
    axis = int(call.attrs.axis) % len(shape)
    others = (shape[:axis] + shape[axis + 1 :]) == (count[:axis] + count[axis + 1 :])
    looks = math.prod(shape) * count[axis]
    if str(call.attrs.reduction) != "add" or not others or not 0 < looks <= MOST:
        return None

    def scattered(data, indices, updates):
        k = te.reduce_axis((0, count[axis]), "k")

        def given(tensor, at):
            return tensor(*at[:axis], k, *at[axis + 1 :])

        def is_at(*at):
            index = given(indices, at)
            # Negative ones count from the end.
            return tirx.Select(index < 0, index + shape[axis], index) == at[axis]

        return _added(data, k, is_at, lambda *at: given(updates, at))

    return builder.call_te(scattered, data, indices, updates, primfunc_name_hint="scatter_elements")


def _added(data: te.Tensor, k, counts: Callable, value: Callable) -> te.Tensor:
    """Return data and the sum over `k` of the values that count at a place."""
    none = tirx.const(0, data.dtype)
    sums = te.compute(
        data.shape, lambda *at: te.sum(tirx.Select(counts(*at), value(*at), none), axis=k), "sums"
    )
    return topi.add(data, sums)


@form("argmax", "argmin")
def argument(builder: relax.BlockBuilder, call: relax.Call):
    """Find the first integer of a row that is its extreme; the unit has it for fp32 as it is."""
    (x,), axis = call.args, call.attrs.axis
    if dtype_in(x) not in INTEGERS or axis is None:
        return None
    shape, dtype = shape_in(x), dtype_in(call)
    axis, keep = int(axis) % len(shape), bool(call.attrs.keepdims)
    extreme = te.max if op_name(call) == "argmax" else te.min
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    if math.prod(shape) == 0:
        return None

    def found(x):
        k, j = (te.reduce_axis((0, shape[axis]), name) for name in ("k", "j"))

        def at_place(at, place):
            return x(*at[:axis], place, *at[axis + 1 :])

        best = te.compute(kept, lambda *at: extreme(at_place(at, k), axis=k), "best")
        number, beyond = j.astype("int64"), tirx.const(shape[axis], "int64")
        first = te.compute(
            kept,
            lambda *at: te.min(tirx.Select(at_place(at, j) == best(*at), number, beyond), axis=j),
            "first",
        )
        out = topi.cast(first, dtype)
        return out if keep else topi.reshape(out, shape_in(call))

    return builder.call_te(found, x, primfunc_name_hint=op_name(call))


@form("nn.adaptive_avg_pool2d")
def adaptive_avg_pool2d(builder: relax.BlockBuilder, call: relax.Call):
    """Average windows of several sizes: each result takes what is in its own, of all pixels."""
    (x,), shape = call.args, shape_in(call.args[0])
    size = shape_in(call)[2:]
    even = all(whole % parts == 0 for whole, parts in zip(shape[2:], size, strict=True))
    looks = math.prod(shape_in(call)) * math.prod(shape[2:])
    if str(call.attrs.layout) != "NCHW" or even or not 0 < looks <= MOST:
        return None
    ends = [_windows(whole, parts) for whole, parts in zip(shape[2:], size, strict=True)]
    inside = np.einsum("ih,jw->ijhw", *ends)
    areas = inside.sum((2, 3))

    def averaged(x, inside, areas):
        h, w = (
            te.reduce_axis((0, whole), name) for whole, name in zip(shape[2:], "hw", strict=True)
        )
        none = tirx.const(0, x.dtype)
        sums = te.compute(
            shape_in(call),
            lambda n, c, i, j: te.sum(
                tirx.Select(inside[i, j, h, w] > 0, x[n, c, h, w], none), axis=[h, w]
            ),
            "sums",
        )
        return te.compute(
            shape_in(call), lambda n, c, i, j: sums[n, c, i, j] / areas[i, j], "averages"
        )

    constants = [relax.const(each.astype("float32")) for each in (inside, areas)]
    return builder.call_te(averaged, x, *constants, primfunc_name_hint="adaptive_avg_pool2d")


def _windows(whole: int, parts: int) -> np.ndarray:
    """Return for each part a row with 1 at what belongs to it: floor to ceiling of its share."""
    out = np.zeros((parts, whole))
    for part in range(parts):
        out[part, part * whole // parts : -(-(part + 1) * whole // parts)] = 1
    return out


@form("nn.avg_pool2d")
def avg_pool2d(builder: relax.BlockBuilder, call: relax.Call):
    """Average an image as a whole where the window is larger than it."""
    (x,), attrs = call.args, call.attrs
    image = shape_in(x)[2:]
    if str(attrs.layout) != "NCHW" or shape_in(call)[2:] != (1, 1):
        return None
    covers = all(int(side) >= whole for side, whole in zip(attrs.pool_size, image, strict=True))
    same = tuple(map(int, attrs.pool_size)) == image
    if same or not covers or any(map(int, attrs.padding)) or set(map(int, attrs.dilation)) != {1}:
        return None
    return builder.normalize(relax.op.nn.avg_pool2d(x, image, (1, 1)))
