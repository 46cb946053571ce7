"""Functions that are one or two operations, each rounded correctly, and casts."""

import numpy as np

from .lanes import F, Lanes, magnitude, nan_like


def sqrt(x: Lanes) -> Lanes:
    return _one_nan(np.sqrt(x))


def rsqrt(x: Lanes) -> Lanes:
    return _one_nan(F(1) / np.sqrt(x))


def fabs(x: Lanes) -> Lanes:
    return magnitude(x)


def floor(x: Lanes) -> Lanes:
    return _one_nan(np.floor(x))


def ceil(x: Lanes) -> Lanes:
    return _one_nan(np.ceil(x))


def trunc(x: Lanes) -> Lanes:
    return _one_nan(np.trunc(x))


def nearbyint(x: Lanes) -> Lanes:
    return _one_nan(np.rint(x))


def minimum(x: Lanes, y: Lanes) -> Lanes:
    return np.where(x < y, x, y)


def maximum(x: Lanes, y: Lanes) -> Lanes:
    return np.where(x > y, x, y)


def to_int32(x: Lanes) -> Lanes:
    return _saturated(x, np.int32)


def to_int8(x: Lanes) -> Lanes:
    return _saturated(x, np.int8)


def to_bool(x: Lanes) -> Lanes:
    return x != F(0)


def to_float32(x: Lanes) -> Lanes:
    return x.astype(F)


def lowest_byte(x: Lanes) -> Lanes:
    return x.astype(np.int8)


def _one_nan(y: Lanes) -> Lanes:
    return nan_like(y, y)


def _saturated(x: Lanes, dtype) -> Lanes:
    # float64 holds every int32, so that the limits aren't rounded.
    limits = np.iinfo(dtype)
    number = np.where(np.isnan(x), F(0), x).astype(np.float64)
    return np.trunc(np.clip(number, limits.min, limits.max)).astype(dtype)
