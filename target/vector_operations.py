"""What the vector unit computes on fp32 words: elementwise operations, and sums of rows.

The only place that lists them: codes, the C++ enums and the costs follow from here. All
steps are single IEEE operations, rounded to nearest even; none is contracted with another.
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
    """An elementwise operation, ``dst = f(a, b, c)``.

    Attributes
    ----------
    code : int
        In instructions; 0 is no operation.
    operands : int
        How many of a, b and c it reads.
    cost : Class
    meaning : str
    """

    name: str
    code: int
    operands: int
    cost: Class
    meaning: str


def _table(*rows: tuple[str, int, Class, str]) -> dict[str, Operation]:
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

OPERATIONS = _table(
    ("copy", 1, _SIMPLE, "a"),
    ("add", 2, _SIMPLE, "a + b"),
    ("subtract", 2, _SIMPLE, "a - b"),
    ("multiply", 2, _SIMPLE, "a * b"),
    ("divide", 2, _DIVIDE, "a / b"),
    ("less", 2, _SIMPLE, "1 if a < b, else 0"),
    ("less_equal", 2, _SIMPLE, "1 if a <= b, else 0"),
    ("equal", 2, _SIMPLE, "1 if a = b, else 0"),
    ("select", 3, _SIMPLE, "b if a isn't 0, else c"),
    *((name, len(row.inputs), _class(row), row.text) for name, row in NUMBERS.items()),
)
"""By name: arithmetic, then the functions."""

PARTIALS = 16
"""Partial sums of a row: element n adds to the one of number n mod 16, and these add in order."""

REDUCTIONS = _table(
    ("sum", 1, _SIMPLE, "from 0 on: partial sums, then these in order"),
    ("maximum", 1, _SIMPLE, "the largest, in the order of a sum, from the least finite number on"),
    (
        "minimum",
        1,
        _SIMPLE,
        "the smallest, in the order of a sum, from the largest finite number on",
    ),
)
"""Of the elements of a row, by name."""
