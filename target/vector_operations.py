"""What the vector unit computes: elementwise operations on words, and sums of rows.

The only place that lists them: codes, the C++ enums and the costs follow from here. A word
has 32 bits, and an operation says what it takes them for: fp32 or int32. Steps on fp32 are single
IEEE operations, rounded to nearest even; none is contracted with another. Truth is 1.0 or 0.0.
"""

from dataclasses import dataclass
from enum import Enum

from .functions import FUNCTIONS, VectorFunction


class Class(Enum):
    """How much of a lane an operation takes; a machine says for how many cycles."""

    SIMPLE = "simple"
    DIVIDE = "divide"
    FUNCTION = "function"


@dataclass(frozen=True)
class Operation:
    """An elementwise operation, ``dst = f(a, b, c)``, or a reduction, ``dst = f(row)``.

    Attributes
    ----------
    code : int
        In instructions; 0 is no operation.
    inputs : tuple of str
        What each operand's words are: a dtype, or ``word`` where all bits go on as they are.
    output : str
        The same of the result.
    cost : Class
    meaning : str
    refused : str
        What is wrong where it has no result, which ends the run; empty where it always has one.
    """

    name: str
    code: int
    inputs: tuple[str, ...]
    output: str
    cost: Class
    meaning: str
    refused: str = ""

    @property
    def operands(self) -> int:
        """How many of a, b and c it reads."""
        return len(self.inputs)


def _table(*rows: tuple) -> dict[str, Operation]:
    return {row[0]: Operation(row[0], code, *row[1:]) for code, row in enumerate(rows, 1)}


_SIMPLE, _DIVIDE, _FUNCTION = Class


def _class(function: VectorFunction) -> Class:
    """Return the class of a function by what it takes: a division, many steps, or few."""
    operations = function.operations
    if operations.total > MOST_SIMPLE:
        return _FUNCTION
    return _DIVIDE if operations.divide or operations.root else _SIMPLE


MOST_SIMPLE = 8
"""Steps of a function that is as cheap as an operation, such as those of rounding."""
NUMBERS = {name: row for name, row in FUNCTIONS.items() if {*row.inputs, row.output} == {"float32"}}
"""Functions of fp32 words that give fp32 words."""
CASTS = {name: FUNCTIONS[name] for name in ("float32_to_int32", "int32_to_float32")}
"""Functions between words of both kinds; bytes become words while they are loaded."""

FLOAT, INT, WORD = "float32", "int32", "word"
_F, _FF, _I, _II = (FLOAT,), (FLOAT, FLOAT), (INT,), (INT, INT)
_WIDE = "doesn't fit 32 bits, in which the vector unit computes int64"
_QUOTIENT = "has no 32-bit result; allowed: divisors but 0, and all but -2147483648 by -1"
_COUNT = "shifts too far; allowed: 0 to 31 bits"
_SCALE = "shifts too far; allowed: -30 to 31 as the last"
_INDEX = "is outside; allowed: from the last to the second less 1"

OPERATIONS = _table(
    ("copy", (WORD,), WORD, _SIMPLE, "a"),
    ("add", _FF, FLOAT, _SIMPLE, "a + b"),
    ("subtract", _FF, FLOAT, _SIMPLE, "a - b"),
    ("multiply", _FF, FLOAT, _SIMPLE, "a * b"),
    ("divide", _FF, FLOAT, _DIVIDE, "a / b"),
    ("less", _FF, FLOAT, _SIMPLE, "1 if a < b, else 0"),
    ("less_equal", _FF, FLOAT, _SIMPLE, "1 if a <= b, else 0"),
    ("equal", _FF, FLOAT, _SIMPLE, "1 if a = b, else 0"),
    ("not_equal", _FF, FLOAT, _SIMPLE, "1 if a < b, a > b or one is NaN, else 0"),
    ("select", (FLOAT, WORD, WORD), WORD, _SIMPLE, "b if a isn't 0, else c"),
    *((name, row.inputs, row.output, _class(row), row.text) for name, row in NUMBERS.items()),
    ("int_add", _II, INT, _SIMPLE, "a + b, wraps around"),
    ("int_subtract", _II, INT, _SIMPLE, "a - b, wraps around"),
    ("int_multiply", _II, INT, _SIMPLE, "a * b, wraps around"),
    ("int_min", _II, INT, _SIMPLE, "the smaller"),
    ("int_max", _II, INT, _SIMPLE, "the larger"),
    ("int_less", _II, FLOAT, _SIMPLE, "1 if a < b, else 0"),
    ("int_less_equal", _II, FLOAT, _SIMPLE, "1 if a <= b, else 0"),
    ("int_equal", _II, FLOAT, _SIMPLE, "1 if a = b, else 0"),
    ("int_not_equal", _II, FLOAT, _SIMPLE, "0 if a = b, else 1"),
    ("bit_and", _II, INT, _SIMPLE, "bits that both have"),
    ("bit_or", _II, INT, _SIMPLE, "bits that one has"),
    ("bit_xor", _II, INT, _SIMPLE, "bits in which they differ"),
    ("shift_left", _II, INT, _SIMPLE, "a * 2**b, wraps around", _COUNT),
    ("shift_right", _II, INT, _SIMPLE, "floor(a / 2**b)", _COUNT),
    ("floor_divide", _II, INT, _DIVIDE, "floor(a / b)", _QUOTIENT),
    ("floor_modulo", _II, INT, _DIVIDE, "a - b * floor(a / b)", _QUOTIENT),
    ("truncate_divide", _II, INT, _DIVIDE, "a / b towards 0", _QUOTIENT),
    ("truncate_modulo", _II, INT, _DIVIDE, "a - b * (a / b towards 0)", _QUOTIENT),
    ("checked_add", _II, INT, _SIMPLE, "a + b", _WIDE),
    ("checked_subtract", _II, INT, _SIMPLE, "a - b", _WIDE),
    ("checked_multiply", _II, INT, _SIMPLE, "a * b", _WIDE),
    *((name, row.inputs, row.output, _class(row), row.text) for name, row in CASTS.items()),
    (
        "dyadic",
        (INT, INT, INT),
        INT,
        _SIMPLE,
        "floor(a * b / 2**(31 + c) + 1/2) of the whole product, its lowest 32 bits",
        _SCALE,
    ),
    ("index", (INT, INT, INT), INT, _SIMPLE, "a, or a + b where a is below 0", _INDEX),
)
"""By name: arithmetic of fp32, functions, arithmetic of int32, casts between the two, scaling."""

PARTIALS = 16
"""Partial sums of a row: element n adds to the one of number n mod 16, and these add in order."""
_LAST_NAN = "behind a row's last NaN, if it has one; that NaN's if it is the last element"

REDUCTIONS = _table(
    ("sum", _F, FLOAT, _SIMPLE, "from 0 on: partial sums, then these in order"),
    (
        "maximum",
        _F,
        FLOAT,
        _SIMPLE,
        "the largest, in the order of a sum, from the least finite number on",
    ),
    (
        "minimum",
        _F,
        FLOAT,
        _SIMPLE,
        "the smallest, in the order of a sum, from the largest finite number on",
    ),
    ("int_sum", _I, INT, _SIMPLE, "the sum, wraps around"),
    ("int_maximum", _I, INT, _SIMPLE, "the largest"),
    ("int_minimum", _I, INT, _SIMPLE, "the smallest"),
    (
        "argmax",
        _F,
        INT,
        _SIMPLE,
        f"number of the first of the largest {_LAST_NAN}; -1 if none is above the least finite one",
    ),
    (
        "argmin",
        _F,
        INT,
        _SIMPLE,
        f"number of the first of the smallest {_LAST_NAN}; -1 if none is below the largest one",
    ),
)
"""Of the elements of a row, by name."""
