"""exp and what is made of it."""

import numpy as np

from ....target.coefficients import COEFFICIENTS, CONSTANTS
from .lanes import (
    MAGIC,
    MAGIC_BITS,
    F,
    I,
    Lanes,
    bits,
    clamped,
    magnitude,
    nan_like,
    polynomial,
    power_of_two,
    scaled,
    upper,
    with_sign,
)


def _reduced(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Return k, r and p: x = k * ln 2 + r, exp(r) = 1 + r + p."""
    shifted = x * F(CONSTANTS["log2_e"]) + MAGIC
    k, n = bits(shifted) - MAGIC_BITS, shifted - MAGIC
    high, low = x - n * F(CONSTANTS["ln2_high"]), n * F(CONSTANTS["ln2_low"])
    r = high - low
    lost = (high - r) - low
    return k, r, r * r * polynomial(COEFFICIENTS["exp"], r) + lost


def _added(whole: Lanes | F, r: Lanes, p: Lanes) -> Lanes:
    """Return whole + r + p, where only the last sum rounds for good; |whole| >= |r| or 0."""
    total = whole + r
    return total + ((r - (total - whole)) + p)


def exponential(x: Lanes) -> Lanes:
    """Return exp of numbers in -104 to 89."""
    k, r, p = _reduced(x)
    return scaled(_added(F(1), r, p), k)


def exp(x: Lanes) -> Lanes:
    return nan_like(x, exponential(clamped(x, -104, 89)))


def exp2(x: Lanes) -> Lanes:
    inside = clamped(x, -151, 129)
    shifted = inside + MAGIC
    r = inside - (shifted - MAGIC)
    return nan_like(x, power_of_two_and(r, r - upper(r), bits(shifted) - MAGIC_BITS))


def power_of_two_and(r: Lanes, rest: Lanes, k: Lanes) -> Lanes:
    """Return 2**(r + k) for r of -1/2 to 1/2, `rest` of it behind its first 12 bits."""
    high = upper(r)
    first = high * F(CONSTANTS["ln2_short"])
    second = high * F(CONSTANTS["ln2_rest"]) + rest * F(CONSTANTS["ln2"])
    curved = r * (r * polynomial(COEFFICIENTS["exp2"], r))
    return scaled(_added(F(1), first, second + curved), k)


def expm1(x: Lanes) -> Lanes:
    k, r, p = _reduced(clamped(x, -20, 89))
    unit = power_of_two(-np.minimum(k, I(126)))
    return nan_like(x, with_sign(scaled(_added(F(1) - unit, r, p), k), x))


def sigmoid(x: Lanes) -> Lanes:
    # 1 / (1 + exp(-x)) = 2**-k / (2**-k + 1 + r + p)
    k, r, p = _reduced(clamped(-x, -18, 105))
    unit = power_of_two(-np.minimum(k, I(126)))
    whole = F(1) + unit
    total = whole + r
    below = total + p
    lost = (unit - (whole - F(1))) + (r - (total - whole)) + (p - (below - total))
    quotient = F(1) / below
    return nan_like(x, scaled(quotient - quotient * (quotient * lost), -k))


def tanh(x: Lanes) -> Lanes:
    a = magnitude(x)
    square = a * a
    near = a + a * (square * polynomial(COEFFICIENTS["tanh"], square))
    double = clamped(a, 0, 10) * F(2)
    far = F(1) - F(2) / (exponential(double) + F(1))
    return nan_like(x, with_sign(np.where(a < F(1), near, far), x))


def erf(x: Lanes) -> Lanes:
    a = magnitude(x)
    near = a + a * polynomial(COEFFICIENTS["erf"], a * a)
    far = F(1) - exponential(-polynomial(COEFFICIENTS["erf_tail"], clamped(a, 0, 4)))
    return nan_like(x, with_sign(np.where(a < F(1), near, far), x))
