"""Logarithms, and power by the logarithm in two numbers."""

from tvm import tirx

from .exponential import power_of_two_and
from .steps import (
    SIGN,
    Steps,
    bits,
    clamped,
    constant,
    infinity,
    integer,
    magnitude,
    nan,
    nan_like,
    negative,
    number,
    of_bits,
    polynomial,
    power_below,
    rounded,
    select,
    upper,
    with_sign,
)

ROOT_HALF_BITS = 0x3F3504F3
"""Of the square root of 1/2."""


def _parts(s: Steps, x):
    """Return k and m for x = m * 2**k, m from the root of 1/2 to that of 2; x > 0."""
    small = s(x < number(2.0**-126))
    field = s(bits(select(small, x * number(2.0**23), x)))
    k = s((field - ROOT_HALF_BITS) >> 23)
    return s(select(small, k - 23, k)), s(of_bits(field - (k << 23)))


def _sum(s: Steps, k, f, correction=None):
    """Return k * ln 2 + log(1 + f) + correction."""
    n = s(k.astype("float32"))
    square = s(f * f)
    last = n * constant("ln2_low")
    if correction is not None:
        last = last + correction
    low = f * square * polynomial(s, "log", f) + last
    return n * constant("ln2_high") + (f + (low - number(0.5) * square))


def _outside(s: Steps, x, y):
    """Return y where x is positive and finite, else what a logarithm of x is."""
    y = s(select(x == number(0.0), negative(infinity()), y))
    y = s(select(x == infinity(), infinity(), y))
    return nan_like(x, s(select(x < number(0.0), nan(), y)))


def log(s: Steps, x):
    """Return the natural logarithm."""
    k, m = _parts(s, x)
    return _outside(s, x, _sum(s, k, s(m - number(1.0))))


def log1p(s: Steps, x):
    """Return log(1 + x)."""
    u = s(x + number(1.0))
    back = s(u - number(1.0))
    lost = (number(1.0) - (u - back)) + (x - back)
    k, m = _parts(s, u)
    y = with_sign(_sum(s, k, s(m - number(1.0)), lost * power_below(k) / m), x)
    y = s(select(x == number(-1.0), negative(infinity()), y))
    y = s(select(x == infinity(), infinity(), y))
    return nan_like(x, s(select(x < number(-1.0), nan(), y)))


def _log2(s: Steps, x):
    """Return log2 of positive numbers as the sum of 12 bits and the rest."""
    k, m = _parts(s, x)
    f = s(m - number(1.0))
    # s = f / (m + 1), in two numbers.
    below = s(m + number(1.0))
    ratio = s(f / below)
    ratio_high = s(upper(ratio))
    below_high = s(upper(below))
    below_low = (m - (below - number(1.0))) + (below - below_high)
    ratio_low = s(((f - ratio_high * below_high) - ratio_high * below_low) / below)
    # log2(m) = 2 / ln 2 * (s + s**3 / 3 + ...) = s * (3 + s**2 + ...) * 2 / (3 ln 2).
    square = s(ratio * ratio)
    exact = s(ratio_high * ratio_high)
    curved = square * square * polynomial(s, "log2", square)
    rest = s(curved + ratio_low * (ratio_high + ratio))
    sum_high = s(upper(number(3.0) + (exact + rest)))
    sum_low = rest - ((sum_high - number(3.0)) - exact)
    product = s(ratio_high * sum_high)
    product_low = s(ratio_low * sum_high + sum_low * ratio)
    high = s(upper(product + product_low))
    low = product_low - (high - product)
    # Times 2 / (3 ln 2), plus k.
    z = s(high * constant("log2_scale_high"))
    z_low = s(high * constant("log2_scale_low") + low * constant("log2_scale"))
    n = s(k.astype("float32"))
    total = s(upper(n + (z + z_low)))
    return total, s(z_low - ((total - n) - z))


def log2(s: Steps, x):
    """Return the logarithm to base 2."""
    high, low = _log2(s, x)
    return _outside(s, x, high + low)


def log10(s: Steps, x):
    """Return the logarithm to base 10."""
    high, low = _log2(s, x)
    y_low = high * constant("log10_2_low") + low * constant("log10_2")
    return _outside(s, x, high * constant("log10_2_high") + y_low)


def pow(s: Steps, x, y):
    """Return x**y."""
    base = s(magnitude(x))
    exponent = clamped(s, y, -(2.0**33), 2.0**33)
    high, log_low = _log2(s, base)
    exponent_high = s(upper(exponent))
    product = s(exponent_high * high)
    product_low = s((exponent - exponent_high) * high + exponent * log_low)
    total = s(product + product_low)
    inside = clamped(s, total, -151.0, 129.0)
    low = s(select(inside == total, (product - inside) + product_low, number(0.0)))
    k, n = rounded(s, inside)
    left = s(inside - n)
    r = s(left + low)
    value = power_of_two_and(s, r, (left - upper(r)) + low, k)
    below_zero = s(y < number(0.0))
    at_zero = s(select(below_zero, infinity(), number(0.0)))
    at_infinity = s(select(below_zero, number(0.0), infinity()))
    value = s(select(base == number(0.0), at_zero, value))
    value = s(select(base == infinity(), at_infinity, value))
    whole = s(tirx.trunc(y))
    half = s(whole * number(0.5))
    odd = tirx.all(whole == y, tirx.trunc(half) != half)
    sign = s(select(odd, bits(x) & SIGN, integer(0)))
    fraction = tirx.all(x < number(0.0), whole != y, base != infinity())
    value = s(select(fraction, nan(), of_bits(bits(value) | sign)))
    value = s(nan_like(x, s(nan_like(y, value))))
    return select(tirx.any(x == number(1.0), y == number(0.0)), number(1.0), value)
