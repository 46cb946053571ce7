"""exp and what is made of it."""

from . import steps
from .steps import (
    Steps,
    clamped,
    constant,
    magnitude,
    nan_like,
    negative,
    number,
    polynomial,
    power_below,
    rounded,
    scaled,
    select,
    upper,
    with_sign,
)


def _reduced(s: Steps, x):
    """Return k, r and p: x = k * ln 2 + r, exp(r) = 1 + r + p."""
    k, n = rounded(s, x * constant("log2_e"))
    high = s(x - n * constant("ln2_high"))
    low = s(n * constant("ln2_low"))
    r = s(high - low)
    return k, r, s(r * r * polynomial(s, "exp", r) + ((high - r) - low))


def _added(s: Steps, whole, r, p):
    """Return whole + r + p, where only the last sum rounds for good; |whole| >= |r|, or 0."""
    total = s(whole + r)
    return total + ((r - (total - whole)) + p)


def exponential(s: Steps, x):
    """Return exp of numbers in -104 to 89."""
    k, r, p = _reduced(s, x)
    return scaled(s, _added(s, number(1.0), r, p), k)


def exp(s: Steps, x):
    """Return e**x."""
    return nan_like(x, exponential(s, clamped(s, x, -104.0, 89.0)))


def power_of_two_and(s: Steps, r, rest, k):
    """Return 2**(r + k) for r of -1/2 to 1/2, `rest` of it behind its first 12 bits."""
    high = s(upper(r))
    first = s(high * constant("ln2_short"))
    second = high * constant("ln2_rest") + rest * constant("ln2")
    curved = r * (r * polynomial(s, "exp2", r))
    return scaled(s, _added(s, number(1.0), first, second + curved), k)


def exp2(s: Steps, x):
    """Return 2**x."""
    inside = clamped(s, x, -151.0, 129.0)
    k, n = rounded(s, inside)
    r = s(inside - n)
    return nan_like(x, power_of_two_and(s, r, r - upper(r), k))


def expm1(s: Steps, x):
    """Return e**x - 1."""
    k, r, p = _reduced(s, clamped(s, x, -20.0, 89.0))
    whole = s(number(1.0) - power_below(k))
    return nan_like(x, with_sign(scaled(s, _added(s, whole, r, p), k), x))


def sigmoid(s: Steps, x):
    """Return 1 / (1 + exp(-x)) = 2**-k / (2**-k + 1 + r + p)."""
    k, r, p = _reduced(s, clamped(s, negative(x), -18.0, 105.0))
    unit = s(power_below(k))
    whole = s(number(1.0) + unit)
    total = s(whole + r)
    below = s(total + p)
    lost = (unit - (whole - number(1.0))) + (r - (total - whole)) + (p - (below - total))
    quotient = s(number(1.0) / below)
    y = quotient - quotient * (quotient * lost)
    return nan_like(x, scaled(s, y, s(steps.integer(0) - k)))


def tanh(s: Steps, x):
    """Return the hyperbolic tangent."""
    a = s(magnitude(x))
    square = s(a * a)
    near = a + a * (square * polynomial(s, "tanh", square))
    twice = s(clamped(s, a, 0.0, 10.0) * number(2.0))
    far = number(1.0) - number(2.0) / (exponential(s, twice) + number(1.0))
    return nan_like(x, with_sign(select(a < number(1.0), near, far), x))


def erf(s: Steps, x):
    """Return the error function."""
    a = s(magnitude(x))
    near = a + a * polynomial(s, "erf", s(a * a))
    power = polynomial(s, "erf_tail", clamped(s, a, 0.0, 4.0))
    far = number(1.0) - exponential(s, s(negative(power)))
    return nan_like(x, with_sign(select(a < number(1.0), near, far), x))
