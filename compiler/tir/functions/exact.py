"""Functions of one or two operations, and casts, saturated where LLVM leaves the result open."""

from tvm import tirx

from .steps import (
    INFINITY_BITS,
    OTHERS,
    Steps,
    bits,
    clamped,
    integer,
    magnitude,
    nan_like,
    number,
    select,
)


def _truncated(s: Steps, x, low: float, high: float):
    known = s(select((bits(x) & OTHERS) > INFINITY_BITS, number(0.0), x))
    return clamped(s, known, low, high).astype("int32")


def float32_to_int32(s: Steps, x):
    """Return x towards 0, saturated; 0 for NaN."""
    # The largest float below 2**31: the cast itself is never out of range.
    inside = _truncated(s, x, -(2.0**31), 2.0**31 - 128)
    return select(x >= number(2.0**31), integer(2**31 - 1), inside)


def float32_to_int8(s: Steps, x):
    """Return x towards 0, saturated; 0 for NaN."""
    return _truncated(s, x, -128.0, 127.0).astype("int8")


def float32_to_bool(s: Steps, x):
    """Return whether x isn't 0."""
    return x != number(0.0)


def sqrt(s: Steps, x):
    """Return the square root."""
    return _one_nan(s, tirx.sqrt(x))


def rsqrt(s: Steps, x):
    """Return 1 / sqrt(x)."""
    return _one_nan(s, number(1.0) / tirx.sqrt(x))


def fabs(s: Steps, x):
    """Return |x|."""
    return magnitude(x)


def floor(s: Steps, x):
    """Return the largest whole number up to x."""
    return _one_nan(s, tirx.floor(x))


def ceil(s: Steps, x):
    """Return the smallest whole number from x on."""
    return _one_nan(s, tirx.ceil(x))


def trunc(s: Steps, x):
    """Return x without its fraction."""
    return _one_nan(s, tirx.trunc(x))


def nearbyint(s: Steps, x):
    """Return the nearest whole number, of two the even one."""
    return _one_nan(s, tirx.nearbyint(x))


def minimum(s: Steps, x, y):
    """Return x if x < y, else y."""
    return select(x < y, x, y)


def maximum(s: Steps, x, y):
    """Return x if x > y, else y."""
    return select(x > y, x, y)


def cast(dtype: str):
    """Return the function that casts, where every value has a result."""
    return lambda s, x: x.astype(dtype)


def _one_nan(s: Steps, value):
    y = s(value)
    return nan_like(y, y)
