"""What the functions share: float32 arrays, their bits as int32, and the steps that recur.

Every step is one IEEE operation on float32, or one on 32-bit integers that wraps. Operands are
arrays or scalars of these types, so that nothing is promoted.
"""

import numpy as np

from ....target.coefficients import WORDS

Lanes = np.ndarray
"""float32, or the int32 of its bits, or bool: an element for each lane."""

F = np.float32
I = np.int32  # noqa: E741
MAGIC = F(12582912.0)
"""1.5 * 2**23: adding it leaves the integer nearest to a small number in the lowest bits."""
MAGIC_BITS = I(0x4B400000)
SIGN = I(-(2**31))
INFINITY, NAN = F(np.inf), np.int32(0x7FC00000).view(np.float32)


def bits(x: Lanes) -> Lanes:
    return x.view(np.int32)


def number(x: Lanes) -> Lanes:
    return x.astype(np.int32, copy=False).view(np.float32)


def magnitude(x: Lanes) -> Lanes:
    return number(bits(x) & I(0x7FFFFFFF))


def with_sign(x: Lanes, sign_of: Lanes) -> Lanes:
    """Return |x| with the sign of another number."""
    return number((bits(x) & I(0x7FFFFFFF)) | (bits(sign_of) & SIGN))


def nan_like(x: Lanes, y: Lanes) -> Lanes:
    """Return y, but the one NaN where x is one."""
    return np.where((bits(x) & I(0x7FFFFFFF)) > I(0x7F800000), NAN, y)


def clamped(x: Lanes, low: float, high: float) -> Lanes:
    raised = np.where(x < F(low), F(low), x)
    return np.where(raised > F(high), F(high), raised)


def power_of_two(k: Lanes) -> Lanes:
    """Return 2**k for k of -126 to 127."""
    return number((k + I(127)) << I(23))


def scaled(y: Lanes, k: Lanes) -> Lanes:
    """Return y * 2**k: in two steps, of which only the second can round."""
    half = k >> I(1)
    return y * power_of_two(half) * power_of_two(k - half)


def polynomial(coefficients: tuple[float, ...], x: Lanes) -> Lanes:
    total = np.full_like(x, F(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        total = total * x + F(coefficient)
    return total


def upper(x: Lanes) -> Lanes:
    """Return x cut to its first 12 bits: products of two such are exact."""
    return number(bits(x) & I(-4096))


def window(index: Lanes, first: int) -> Lanes:
    """Return `WORDS[index + first]` as uint32, for indices of 0 to 4."""
    return np.array(WORDS, np.uint32)[index + first]
