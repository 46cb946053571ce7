"""sin, cos and tan: 2/pi times the argument in integers, to as many bits as cancel, at most."""

import itertools

import numpy as np

from ....target.coefficients import COEFFICIENTS, CONSTANTS
from .lanes import (
    NAN,
    SIGN,
    F,
    I,
    Lanes,
    bits,
    magnitude,
    nan_like,
    number,
    polynomial,
    upper,
    window,
)

SMALL = F(0.785398185253143310546875)
"""Up to a quarter of pi the argument is taken as it is."""
U = np.uint64


def _quadrant(a: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Return q, r and what r lacks: a = q * pi/2 + r + low, for finite a >= SMALL."""
    field = bits(a)
    exponent = np.clip(field >> I(23), I(126), I(254)) - I(120)
    mantissa = ((field & I(0x7FFFFF)) | I(0x800000)).astype(U)
    index, shift = exponent >> I(5), (exponent & I(31)).astype(np.uint32)
    words = [window(index, i) for i in range(4)]
    at = [
        ((word << shift) | ((after >> np.uint32(1)) >> (np.uint32(31) - shift))).astype(U)
        for word, after in itertools.pairwise(words)
    ]
    # Bits of a * 2/pi: two before the binary point, 62 behind it.
    product = ((mantissa * at[0]) << U(32)) + mantissa * at[1] + ((mantissa * at[2]) >> U(32))
    q = (product + U(1 << 61)) >> U(62)
    fraction = product - (q << U(62))
    negative = (fraction >> U(63)) != U(0)
    fraction = np.where(negative, U(0) - fraction, fraction)
    high, low = (fraction >> U(32)).astype(np.int32), fraction & U(0xFFFFFFFF)
    t = high.astype(F)
    t_low = (high - t.astype(np.int32)).astype(F) + (
        (low >> U(16)).astype(F) * F(2.0**-16) + (low & U(0xFFFF)).astype(F) * F(2.0**-32)
    )
    # Times pi/2 * 2**-30.
    t_high = upper(t)
    first = t_high * F(CONSTANTS["pi_half_high"])
    rest = t_high * F(CONSTANTS["pi_half_low"]) + ((t - t_high) + t_low) * F(CONSTANTS["pi_half"])
    r = first + rest
    r_low = rest - (r - first)
    sign = np.where(negative, SIGN, I(0))
    scale = F(2.0**-30)
    return (
        q.astype(np.int32),
        number(bits(r * scale) ^ sign),
        number(bits(r_low * scale) ^ sign),
    )


def _reduced(a: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    q, r, low = _quadrant(a)
    small = a < SMALL
    return np.where(small, I(0), q), np.where(small, a, r), np.where(small, F(0), low)


def _sine(r: Lanes, low: Lanes) -> tuple[Lanes, Lanes]:
    """Return the sine of r + low, two numbers to be added."""
    square = r * r
    curved = r * (square * polynomial(COEFFICIENTS["sin"], square))
    return r, curved + (low - low * (F(0.5) * square))


def _cosine(r: Lanes, low: Lanes) -> tuple[Lanes, Lanes]:
    """Return the cosine of r + low, two numbers to be added."""
    square = r * r
    half = F(0.5) * square
    near = F(1) - half
    lost = (F(1) - near) - half
    return near, lost + (square * square * polynomial(COEFFICIENTS["cos"], square) - r * low)


def _chosen(x: Lanes, turn: int) -> Lanes:
    """Return the sine of |x| + turn * pi/2, and NaN for what isn't finite."""
    a = magnitude(x)
    q, r, low = _reduced(a)
    q = q + I(turn)
    y = np.where((q & I(1)) != I(0), sum(_cosine(r, low)), sum(_sine(r, low)))
    y = number(bits(y) ^ ((q & I(2)) << I(30)))
    return np.where(bits(a) >= I(0x7F800000), NAN, y)


def sin(x: Lanes) -> Lanes:
    y = _chosen(x, 0)
    return nan_like(y, number(bits(y) ^ (bits(x) & SIGN)))


def cos(x: Lanes) -> Lanes:
    return _chosen(x, 1)


def tan(x: Lanes) -> Lanes:
    a = magnitude(x)
    q, r, low = _reduced(a)
    sine, cosine = _added(_sine(r, low)), _added(_cosine(r, low))
    odd = (q & I(1)) != I(0)
    above, above_low = (np.where(odd, c, s) for s, c in zip(sine, cosine, strict=True))
    below, below_low = (np.where(odd, s, c) for s, c in zip(sine, cosine, strict=True))
    quotient = above / below
    y = quotient + (above_low - quotient * below_low) / below
    y = np.where(r == F(0), quotient, y)
    y = number(bits(y) ^ (bits(x) & SIGN) ^ (q << I(31)))
    return np.where(bits(a) >= I(0x7F800000), NAN, y)


def _added(pair: tuple[Lanes, Lanes]) -> tuple[Lanes, Lanes]:
    """Return the sum of two numbers, the first the larger one, and what it lost."""
    total = pair[0] + pair[1]
    return total, pair[1] - (total - pair[0])
