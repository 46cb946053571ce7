"""What the functions share: steps with names, bits of numbers, and what recurs.

A TIR expression is a tree: what is used twice would be computed twice. So each function stores its
steps. Nothing here may be what TVM's simplifier folds or turns: no sum with 0, no
product with 1 or 0, no negated comparison, and no test for NaN by ``x != x``.
"""

from collections.abc import Sequence

from tvm import tirx

from ....target.coefficients import COEFFICIENTS, CONSTANTS

ROUNDING = 12582912.0
"""1.5 * 2**23: adding it leaves the integer nearest to a small number in the lowest bits."""
ROUNDING_BITS = 0x4B400000
INFINITY_BITS, NAN_BITS = 0x7F800000, 0x7FC00000
LIMIT = 1024
"""Steps of one statement."""
SIGN, OTHERS = -(2**31), 0x7FFFFFFF


class Steps:
    """The steps of the functions of one statement: each is stored, and read as often as wanted.

    Not a ``Let``: TVM's analyzers put the value of such a variable in its place, in every pass and
    once more in the code generator, so that what is used twice, forty steps deep, has 2**40 leaves.
    LLVM makes registers of this memory, from its first level of optimization on.

    Attributes
    ----------
    stores : list of tirx.BufferStore
        The steps in order.
    """

    def __init__(self) -> None:
        self.stores: list[tirx.BufferStore] = []
        self._memory: dict[str, tirx.Buffer] = {}

    def __call__(self, value):
        """Store a value and return what reads it."""
        value = tirx.convert(value)
        dtype = value.ty.dtype
        if dtype not in self._memory:
            name = f"steps_{dtype}"
            self._memory[dtype] = tirx.decl_buffer((LIMIT,), dtype, name, scope="local")
        memory, place = self._memory[dtype], len(self.stores)
        assert place < LIMIT, "more steps than their memory holds"
        self.stores.append(tirx.BufferStore(memory, value, [place]))
        return tirx.BufferLoad(memory, [place])

    @property
    def buffers(self) -> list[tirx.Buffer]:
        """What has to be allocated."""
        return list(self._memory.values())


def number(value: float):
    """Return an fp32 constant."""
    return tirx.const(value, "float32")


def constant(name: str):
    """Return an fp32 constant of `target.coefficients`."""
    return number(CONSTANTS[name])


def integer(value: int):
    """Return an int32 constant."""
    return tirx.const(value, "int32")


def bits(x):
    """Return the bits of an fp32 number as int32."""
    return tirx.reinterpret("int32", x)


def of_bits(x):
    """Return the fp32 number of int32 bits."""
    return tirx.reinterpret("float32", x)


def infinity():
    """Return +infinity."""
    return of_bits(integer(INFINITY_BITS))


def nan():
    """Return the one NaN that functions give."""
    return of_bits(integer(NAN_BITS))


def select(where, yes, no):
    """Return a choice between two values that are both computed."""
    return tirx.Select(where, yes, no)


def negative(x):
    """Return -x: a changed sign bit, which 0 - x isn't at 0."""
    return of_bits(bits(x) ^ SIGN)


def magnitude(x):
    """Return |x|."""
    return of_bits(bits(x) & OTHERS)


def with_sign(x, sign_of):
    """Return |x| with the sign of another number."""
    return of_bits((bits(x) & OTHERS) | (bits(sign_of) & SIGN))


def nan_like(x, y):
    """Return y, but NaN where x is one."""
    return select((bits(x) & OTHERS) > INFINITY_BITS, nan(), y)


def clamped(s: Steps, x, low: float, high: float):
    """Return x in [low, high]; a NaN stays."""
    raised = s(select(x < number(low), number(low), x))
    return s(select(raised > number(high), number(high), raised))


def power_of_two(k):
    """Return 2**k for k of -126 to 127."""
    return of_bits((k + 127) << 23)


def power_below(k):
    """Return 2**-k, at least 2**-126."""
    return power_of_two(integer(0) - select(k < 126, k, integer(126)))


def scaled(s: Steps, y, k):
    """Return y * 2**k: in two steps, of which only the second can round."""
    half = s(k >> 1)
    return y * power_of_two(half) * power_of_two(k - half)


def polynomial(s: Steps, name: str, x):
    """Return a polynomial of `COEFFICIENTS`, from its highest power down."""
    values: Sequence[float] = COEFFICIENTS[name]
    total = number(values[-1])
    for value in values[-2::-1]:
        total = total * x + number(value)
    return s(total)


def upper(x):
    """Return the first 12 bits of x: products of two such are exact."""
    return of_bits(bits(x) & -4096)


def rounded(s: Steps, x):
    """Return the integer nearest to a small number, as int32 and as fp32."""
    shifted = s(x + number(ROUNDING))
    return s(bits(shifted) - ROUNDING_BITS), s(shifted - number(ROUNDING))
