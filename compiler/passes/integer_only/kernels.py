"""The integer kernels as tensor expressions of int32: what LLVM and the vector unit compute."""

from typing import Any

from tvm import te, tirx, topi

from ..vectorize.blocks import KEPT
from .reference import LONGEST_SHIFT, MOST, STEPS


def _i32(value: int):
    return tirx.const(value, "int32")


def _elements(x: te.Tensor, name: str, body) -> te.Tensor:
    return te.compute(x.shape, body, name=name)


def _over_rows(x: te.Tensor, name: str, join) -> te.Tensor:
    """Return what is put together of the last axis, which stays with one element."""
    axis = te.reduce_axis((0, x.shape[-1]), "k")
    shape = (*x.shape[:-1], 1)
    return te.compute(shape, lambda *at: join(x[(*at[:-1], axis)], axis=axis), name=name)


def _of_row(at) -> tuple:
    return (*at[:-1], _i32(0))


def _broadcast(value, at):
    """Return an operand's element for an output's index: a number, or a tensor with axes of 1."""
    if isinstance(value, int):
        return _i32(value)
    own = at[len(at) - len(value.shape) :]
    sizes = zip(own, value.shape, strict=True)
    return value[tuple(_i32(0) if int(size) == 1 else index for index, size in sizes)]


def _clip(value, low: int, high: int):
    return tirx.max(tirx.min(value, _i32(high)), _i32(low))


def _dyadic(value, factor, shift):
    return tirx.q_multiply_shift_per_axis(value, factor, _i32(0), shift, 31, False, True)


def requantize(x, dyadic: list, limit: int, dtype: str) -> te.Tensor:
    """Return ``clip(dyadic(clip(x)) + offset)``.

    Parameters
    ----------
    dyadic : list
        Factor, shift, offset, and where x is clipped: numbers, tensors that broadcast, or None for
        no offset and no clip.
    """
    factor, shift, offset, most = dyadic

    def code(*at):
        value = x[at].astype("int32")
        if most is not None:
            bound = _broadcast(most, at)
            value = tirx.max(tirx.min(value, bound), -bound)
        value = _dyadic(value, _broadcast(factor, at), _broadcast(shift, at))
        if offset is not None:
            value = value + _broadcast(offset, at)
        return _clip(value, -limit, limit).astype(dtype)

    return _elements(x, "requantized", code)


def _shift_exp(x, unit: int, bits: int):
    """Return e**(x / unit) of an element that isn't above 0."""
    p = tirx.max(x + (x >> 1) - (x >> 4), _i32(-LONGEST_SHIFT * unit))
    # Both are at most 0: the quotient's floor is what truncation gives of positive numbers.
    q = tirx.floordiv(-p, _i32(unit))
    r = p + q * unit
    return (((r >> 1) + unit) << bits) >> q


def _share(part, whole, bits: int):
    return (part * tirx.floordiv(_i32(MOST), whole)) >> (32 - bits)


def shiftmax(x: te.Tensor, unit: int, bits: int) -> te.Tensor:
    """Return the softmax of rows as int8 in units of 1/128."""
    top = _over_rows(x, "top", te.max)
    powers = _elements(x, "powers", lambda *at: _shift_exp(x[at] - top[_of_row(at)], unit, bits))
    whole = _over_rows(powers, "whole", te.sum)
    return _elements(
        x, "shares", lambda *at: _share(powers[at], whole[_of_row(at)], 8).astype("int8")
    )


def _gate(x, factor: int, shift: int, unit: int, bits: int):
    z = _dyadic(x, _i32(factor), _i32(shift))
    top = tirx.max(z, _i32(0))
    one, other = _shift_exp(z - top, unit, bits), _shift_exp(-top, unit, bits)
    return _share(one, one + other, 16)


def gate(x: te.Tensor, factor: int, shift: int, unit: int, bits: int) -> te.Tensor:
    """Return the sigmoid of what x is, scaled by a dyadic number, in units of 2**-15."""
    return _elements(x, "gate", lambda *at: _gate(x[at], factor, shift, unit, bits))


def gated(x: te.Tensor, factor: int, shift: int, unit: int, bits: int) -> te.Tensor:
    """Return x times the sigmoid of what x is, scaled by a dyadic number, in units of 2**-15."""

    return _elements(x, "gated", lambda *at: x[at] * _gate(x[at], factor, shift, unit, bits))


def norm(x: te.Tensor, epsilon: int, center: bool) -> te.Tensor:
    """Return rows over the root of their squares' sum, in units of 2**-30."""
    length = int(x.shape[-1])
    if center:
        total = _over_rows(x, "total", te.sum)
        half = _i32(length // 2)
        mean = _elements(total, "mean", lambda *at: tirx.floordiv(total[at] + half, _i32(length)))
        given = x
        x = _elements(given, "centered", lambda *at: given[at] - mean[_of_row(at)])
    squares = _elements(x, "squares", lambda *at: x[at] * x[at])
    square = _over_rows(squares, "square", te.sum)

    def step(k: Any, number: int) -> te.Tensor:
        def body(*at):
            before = _i32(1 << 16) if k is None else k[at]
            return (before + tirx.floordiv(square[at] + epsilon, before)) >> 1

        return te.compute(square.shape, body, name=f"step{number}", attrs={KEPT: True})

    k: Any = None
    for number in range(STEPS):
        k = step(k, number)
    inverse = _elements(k, "inverse", lambda *at: tirx.floordiv(_i32(MOST), k[at]))
    return _elements(x, "normed", lambda *at: (x[at] * inverse[_of_row(at)]) >> 1)


def window_sums(x: te.Tensor, window, strides, pads, made) -> te.Tensor:
    """Return the sums of windows of images NCHW, whose padding counts as 0."""
    if any(pads):
        x = topi.nn.pad(x, [0, 0, *pads[:2]], [0, 0, *pads[2:]], 0)
    rows, columns = te.reduce_axis((0, window[0]), "r"), te.reduce_axis((0, window[1]), "s")

    def total(n, c, h, w):
        row, column = h * strides[0] + rows, w * strides[1] + columns
        return te.sum(x[n, c, row, column], axis=[rows, columns])

    return te.compute((*x.shape[:2], *made), total, name="windows")
