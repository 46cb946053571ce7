"""The values of one part of an operator, as they come up: constants, maps, and reductions."""

import math

from tvm import tirx

from ...operators import CONSTANT, MAP, REDUCE, Value
from .blocks import Block
from .bounds import WORD, Bounds, bounds_of, within
from .refusal import Refused
from .words import BOOL, FLOAT, LIMITS, LONG, QUOTIENTS, REDUCTIONS, cast, dtype_of, operation

MOST_HALVES = 1 << 15
"""Of 16 bits, that 32 bits hold the sum of."""
SHIFTS = 0, 31
"""How far a word can be shifted."""


class Values:
    """Values that know each other by number."""

    def __init__(self):
        self.found: list[Value] = []
        self._bounds: list[Bounds] = []
        self._numbers: dict[str, int] = {}

    def __getitem__(self, number: int) -> Value:
        return self.found[number]

    def add(self, value: Value) -> int:
        """Return the number of a value; equal ones are one."""
        # By text: 0.0 and -0.0 are equal, but not the same number.
        key = repr(value)
        if key not in self._numbers:
            self._numbers[key] = len(self.found)
            self.found.append(value)
            operands = [self._bounds[number] for number in value.operands]
            self._bounds.append(bounds_of(value, operands))
        return self._numbers[key]

    def map(self, operation: str, *operands: int) -> int:
        """Add an operation on elements."""
        given = [self.found[number] for number in operands]
        tall, wide = any(one.tall for one in given), any(one.wide for one in given)
        return self.add(Value(MAP, operation, operands, tall=tall, wide=wide))

    def reduced(self, block: Block, value: int) -> int:
        """Return the value of each row's elements together."""
        dtype = dtype_of(block.value)
        if (dtype, block.reduction) == (LONG, "sum"):
            return self._long_sum(block, value)
        return self._reduce(operation(REDUCTIONS, dtype, block.reduction), value)

    def _long_sum(self, block: Block, value: int) -> int:
        """Return a sum of int64, of halves of words: together they fit, or the unit refuses it."""
        count = math.prod(block.axes[var] for var in block.reduced)
        low, high = self._bounds[value]
        if within((count * low, count * high), WORD):
            return self._reduce("int_sum", value)
        if count > MOST_HALVES:
            raise Refused(f"it sums more than {MOST_HALVES} elements of int64")
        lower = self.map("bit_and", value, self.number((1 << 16) - 1))
        upper = self.map("shift_right", value, self.number(16))
        lower, upper = (self._reduce("int_sum", half) for half in (lower, upper))
        return self.map(
            "checked_add", self.map("checked_multiply", upper, self.number(1 << 16)), lower
        )

    def _reduce(self, name: str, value: int) -> int:
        return self.add(Value(REDUCE, name, (value,), tall=self.found[value].tall))

    def wide(self, number: int) -> int:
        """Return a value that has a number for each column, to be reduced."""
        value = self.found[number]
        if value.wide:
            return number
        return self.add(Value(MAP, "copy", (number,), tall=value.tall, wide=True))

    def spread(self, number: int, tall: bool, wide: bool) -> int:
        """Return a value that has a number for each row, for each column, or both."""
        value = self.found[number]
        if (value.tall or not tall) and (value.wide or not wide):
            return number
        return self.add(Value(MAP, "copy", (number,), tall=tall, wide=wide))

    def constant(self, node) -> int:
        """Add a constant of TIR."""
        if isinstance(node, tirx.FloatImm):
            if math.isnan(float(node)) or dtype_of(node) != FLOAT:
                raise Refused(f"the vector unit has no constant {node} of {dtype_of(node)}")
            return self.number(float(node))
        number = int(node)
        if dtype_of(node) == BOOL:
            return self.number(float(number))
        if not -(1 << 31) <= number < 1 << 31:
            raise Refused(f"{number} doesn't fit the vector unit's 32 bits")
        return self.number(number)

    def number(self, number: float | int) -> int:
        """Add a constant: fp32 of a float, int32 of an int."""
        return self.add(Value(CONSTANT, number=number))

    def cast(self, value: int, source: str, target: str) -> int:
        """Add the steps from one type of TIR to another; none where they change nothing."""
        given = value
        whole = source not in (FLOAT, BOOL)
        if whole and target in LIMITS and within(self._bounds[value], LIMITS[target]):
            return value
        for name, second in cast(source, target):
            operands = () if second is None else (self.number(second),)
            value = self.map(name, value, *operands)
        return self._fits(given, value) if (source, target) == (FLOAT, LONG) else value

    def _fits(self, given: int, number: int) -> int:
        """Return fp32 as integers; one more than 32 bits hold is refused by the unit."""
        edge = self.number(2.0**31)
        for name, operands in (
            ("checked_add", (edge, given)),
            ("checked_subtract", (given, self.map("subtract", self.number(0.0), edge))),
        ):
            beyond = "less_equal" if name == "checked_add" else "less"
            one = self.map("float32_to_int32", self.map(beyond, *operands))
            number = self.map(name, number, one)
        return number

    def safe(self, name: str, second: int, chosen: bool) -> int:
        """Return a second operand with which an operation has a result.

        What a choice leaves out is computed too, and may be a shift too far, or a division by 0.

        Parameters
        ----------
        chosen : bool
            Whether this is part of a choice.
        """
        if self.found[second].kind == CONSTANT:
            return second
        if name in ("shift_left", "shift_right"):
            if within(self._bounds[second], SHIFTS):
                return second
            return self.map("bit_and", second, self.number(31))
        if name in QUOTIENTS.values() and chosen:
            nothing = self.map("int_equal", second, self.number(0))
            return self.map("select", nothing, self.number(1), second)
        return second
