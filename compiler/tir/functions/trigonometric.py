"""sin, cos and tan: 2/pi times the argument in integers, to as many bits as cancel, at most."""

import itertools

from tvm import tirx

from ....target.coefficients import WORDS
from .steps import (
    INFINITY_BITS,
    SIGN,
    Steps,
    bits,
    constant,
    integer,
    magnitude,
    nan,
    nan_like,
    number,
    of_bits,
    polynomial,
    select,
    upper,
)

SMALL = 0.785398185253143310546875
"""Up to a quarter of pi the argument is taken as it is."""


def _word(value: int):
    return tirx.const(value, "uint32")


def _wide(value: int):
    return tirx.const(value, "uint64")


def _window(s: Steps, exponent):
    """Return those bits of 2/pi that matter for an exponent as three words, uint64."""
    index, shift = s(exponent >> 5), s((exponent & 31).astype("uint32"))
    words = []
    for i in range(4):
        word = _word(WORDS[i])
        for first in range(1, 5):
            word = s(select(index >= first, _word(WORDS[first + i]), word))
        words.append(word)
    joined = []
    for word, after in itertools.pairwise(words):
        value = (word << shift) | ((after >> _word(1)) >> (_word(31) - shift))
        joined.append(s(value.astype("uint64")))
    return joined


def _quadrant(s: Steps, a):
    """Return q, r and what r lacks: a = q * pi/2 + r + low, for finite a >= SMALL."""
    field = s(bits(a))
    exponent = s(field >> 23)
    exponent = s(select(exponent < 126, integer(126), exponent))
    exponent = s(select(exponent > 254, integer(254), exponent) - 120)
    mantissa = s(((field & 0x7FFFFF) | 0x800000).astype("uint64"))
    first, second, third = _window(s, exponent)
    # Two bits before the binary point, 62 behind it, in words of 32. TVM tells LLVM that no sum of
    # unsigned integers wraps, so none does.
    mask, one, zero = _wide(0xFFFFFFFF), _wide(1), _wide(0)
    middle = s(mantissa * second + ((mantissa * third) >> _wide(32)))
    low = s(middle & mask)
    high = s((((mantissa * first) & mask) + (middle >> _wide(32))) & mask)
    q = s(((high + _wide(1 << 29)) >> _wide(30)) & _wide(3))
    high = s(((high + _wide(1 << 32)) - (q << _wide(30))) & mask)
    # The magnitude: 0 - x is ~x + 1, which carries where the lower word is 0.
    minus = s(high >= _wide(1 << 31))
    empty = s(low == zero)
    flipped = s((high ^ mask) + select(empty, one, zero))
    flipped_low = s(select(empty, zero, (low ^ mask) + one))
    high = s(select(minus, flipped, high).astype("int32"))
    low = s(select(minus, flipped_low, low))
    t = s(high.astype("float32"))
    upper_half = (low >> _wide(16)).astype("int32").astype("float32") * number(2.0**-16)
    lower_half = (low & _wide(0xFFFF)).astype("int32").astype("float32") * number(2.0**-32)
    lost = (high - t.astype("int32")).astype("float32")
    t_low = lost + (upper_half + lower_half)
    # Times pi/2 * 2**-30.
    t_high = s(upper(t))
    exact = s(t_high * constant("pi_half_high"))
    rest = s(t_high * constant("pi_half_low") + ((t - t_high) + t_low) * constant("pi_half"))
    r = s(exact + rest)
    r_low = rest - (r - exact)
    sign, scale = s(select(minus, integer(SIGN), integer(0))), number(2.0**-30)
    return (
        q.astype("int32"),
        of_bits(bits(r * scale) ^ sign),
        of_bits(bits(r_low * scale) ^ sign),
    )


def _reduced(s: Steps, a):
    q, r, low = _quadrant(s, a)
    small = s(a < number(SMALL))
    return (
        s(select(small, integer(0), q)),
        s(select(small, a, r)),
        s(select(small, number(0.0), low)),
    )


def _sine(s: Steps, r, low):
    """Return the sine of r + low, two numbers to be added."""
    square = s(r * r)
    curved = r * (square * polynomial(s, "sin", square))
    return r, s(curved + (low - low * (number(0.5) * square)))


def _cosine(s: Steps, r, low):
    """Return the cosine of r + low, two numbers to be added."""
    square = s(r * r)
    half = s(number(0.5) * square)
    near = s(number(1.0) - half)
    lost = (number(1.0) - near) - half
    return near, s(lost + (square * square * polynomial(s, "cos", square) - r * low))


def _turned(s: Steps, x, turn: int):
    """Return the sine of |x| + turn * pi/2, NaN for what isn't finite."""
    a = s(magnitude(x))
    q, r, low = _reduced(s, a)
    if turn:
        q = s(q + turn)
    sine, cosine = _sine(s, r, low), _cosine(s, r, low)
    y = s(select((q & 1) != 0, cosine[0] + cosine[1], sine[0] + sine[1]))
    y = s(of_bits(bits(y) ^ ((q & 2) << 30)))
    return s(select(bits(a) >= INFINITY_BITS, nan(), y))


def sin(s: Steps, x):
    """Return the sine."""
    y = _turned(s, x, 0)
    return nan_like(y, of_bits(bits(y) ^ (bits(x) & SIGN)))


def cos(s: Steps, x):
    """Return the cosine."""
    return _turned(s, x, 1)


def _normal(s: Steps, pair):
    total = s(pair[0] + pair[1])
    return total, s(pair[1] - (total - pair[0]))


def tan(s: Steps, x):
    """Return the tangent."""
    a = s(magnitude(x))
    q, r, low = _reduced(s, a)
    sine, cosine = _normal(s, _sine(s, r, low)), _normal(s, _cosine(s, r, low))
    odd = s((q & 1) != 0)
    below = s(select(odd, sine[0], cosine[0]))
    below_low = select(odd, sine[1], cosine[1])
    quotient = s(select(odd, cosine[0], sine[0]) / below)
    above_low = select(odd, cosine[1], sine[1])
    y = s(quotient + (above_low - quotient * below_low) / below)
    y = s(select(r == number(0.0), quotient, y))
    y = s(of_bits(bits(y) ^ (bits(x) & SIGN) ^ (q << 31)))
    return select(bits(a) >= INFINITY_BITS, nan(), y)
