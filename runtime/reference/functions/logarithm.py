"""Logarithms, and power by the logarithm in two numbers."""

import numpy as np

from ....target.coefficients import COEFFICIENTS, CONSTANTS
from .exponential import power_of_two_and
from .lanes import (
    INFINITY,
    MAGIC,
    MAGIC_BITS,
    NAN,
    SIGN,
    F,
    I,
    Lanes,
    bits,
    clamped,
    magnitude,
    nan_like,
    number,
    polynomial,
    power_of_two,
    upper,
    with_sign,
)

ROOT_HALF = I(0x3F3504F3)
"""Bits of the square root of 1/2."""


def _parts(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return k and m for x = m * 2**k, m from the root of 1/2 to that of 2; x > 0."""
    small = x < F(2.0**-126)
    field = bits(np.where(small, x * F(2.0**23), x))
    k = (field - ROOT_HALF) >> I(23)
    return np.where(small, k - I(23), k), number(field - (k << I(23)))


def _sum(k: Lanes, f: Lanes, correction: Lanes) -> Lanes:
    """Return k * ln 2 + log(1 + f) + correction."""
    n, square = k.astype(F), f * f
    low = f * square * polynomial(COEFFICIENTS["log"], f) + (
        n * F(CONSTANTS["ln2_low"]) + correction
    )
    return n * F(CONSTANTS["ln2_high"]) + (f + (low - F(0.5) * square))


def _outside(x: Lanes, y: Lanes) -> Lanes:
    """Return y where x is a positive finite number, else what a logarithm of x is."""
    y = np.where(x == F(0), -INFINITY, y)
    y = np.where(x == INFINITY, INFINITY, y)
    return nan_like(x, np.where(x < F(0), NAN, y))


def log(x: Lanes) -> Lanes:
    k, m = _parts(x)
    return _outside(x, _sum(k, m - F(1), np.zeros_like(m)))


def log1p(x: Lanes) -> Lanes:
    u = x + F(1)
    back = u - F(1)
    lost = (F(1) - (u - back)) + (x - back)
    k, m = _parts(u)
    correction = lost * power_of_two(-np.minimum(k, I(126))) / m
    y = with_sign(_sum(k, m - F(1), correction), x)
    y = np.where(x == F(-1), -INFINITY, y)
    y = np.where(x == INFINITY, INFINITY, y)
    return nan_like(x, np.where(x < F(-1), NAN, y))


def _log2(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return log2 of positive numbers as the sum of 12 bits and the rest."""
    k, m = _parts(x)
    f = m - F(1)
    # s = f / (m + 1), in two numbers.
    below = m + F(1)
    s = f / below
    s_high = upper(s)
    below_high = upper(below)
    below_low = (m - (below - F(1))) + (below - below_high)
    s_low = ((f - s_high * below_high) - s_high * below_low) / below
    # log2(m) = 2 / ln 2 * (s + s**3 / 3 + ...) = s * (3 + s**2 + ...) * 2 / (3 ln 2).
    square = s * s
    exact = s_high * s_high
    rest = square * square * polynomial(COEFFICIENTS["log2"], square) + s_low * (s_high + s)
    sum_high = upper(F(3) + (exact + rest))
    sum_low = rest - ((sum_high - F(3)) - exact)
    product = s_high * sum_high
    product_low = s_low * sum_high + sum_low * s
    high = upper(product + product_low)
    low = product_low - (high - product)
    # Times 2 / (3 ln 2), plus k.
    scale, scale_low = F(CONSTANTS["log2_scale_high"]), F(CONSTANTS["log2_scale_low"])
    z, n = high * scale, k.astype(F)
    z_low = high * scale_low + low * F(CONSTANTS["log2_scale"])
    total = upper(n + (z + z_low))
    return total, z_low - ((total - n) - z)


def log2(x: Lanes) -> Lanes:
    high, low = _log2(x)
    return _outside(x, high + low)


def log10(x: Lanes) -> Lanes:
    high, low = _log2(x)
    y = high * F(CONSTANTS["log10_2_high"])
    y_low = high * F(CONSTANTS["log10_2_low"]) + low * F(CONSTANTS["log10_2"])
    return _outside(x, y + y_low)


def pow(x: Lanes, y: Lanes) -> Lanes:
    base, exponent = magnitude(x), clamped(y, -(2.0**33), 2.0**33)
    high, low = _log2(base)
    exponent_high = upper(exponent)
    product = exponent_high * high
    product_low = (exponent - exponent_high) * high + exponent * low
    inside = clamped(product + product_low, -151, 129)
    low = np.where(inside == product + product_low, (product - inside) + product_low, F(0))
    shifted = inside + MAGIC
    whole = inside - (shifted - MAGIC)
    r = whole + low
    value = power_of_two_and(r, (whole - upper(r)) + low, bits(shifted) - MAGIC_BITS)
    negative = y < F(0)
    value = np.where(base == F(0), np.where(negative, INFINITY, F(0)), value)
    value = np.where(base == INFINITY, np.where(negative, F(0), INFINITY), value)
    whole = np.trunc(y)
    half = whole * F(0.5)
    odd = (whole == y) & (np.trunc(half) != half)
    value = number(bits(value) | np.where(odd, bits(x) & SIGN, I(0)))
    fraction = (x < F(0)) & (whole != y) & (base != INFINITY)
    value = nan_like(x, nan_like(y, np.where(fraction, NAN, value)))
    return np.where((x == F(1)) | (y == F(0)), F(1), value)
