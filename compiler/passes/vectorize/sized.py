"""Functions of sizes that only a call knows, as operators whose numbers follow these.

A function is read for a few sizes, each time as if they were known. What it is read as has the
same structure each time, or it stays on the host; and extents, strides and offsets are polynomials
of the sizes, because shapes and what indexes them are. As many readings as a polynomial has
coefficients tell it, and more of them judge it.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tvm import tirx
from tvm.tirx.buffer import is_buffer_var

from ...operators import Vector
from ...sizes import symbol_of, variables_in
from ...symbolic import Symbol, value_at
from .blocks import inlined
from .read import read_vector
from .refusal import Refused

DEGREE = 2
"""Of each size: what lies between rows of scores grows with the square of their number."""
MOST_SIZES = 2
CHECKS = 2
FAR = (37, 53, 97, 211, 503, 1021)
"""Sizes to read for where fewer than that are allowed; no other extent is likely to be one."""


def sizes_in(function: tirx.PrimFunc) -> dict[str, tirx.Var]:
    """Return by name the sizes that a function's parameters leave open."""
    extents = [getattr(each, "shape", (each,)) for each in function.params]
    return variables_in(itertools.chain.from_iterable(extents))


def read_sized(function: tirx.PrimFunc, variables: dict[str, tirx.Var]) -> Vector:
    """Return the operator of a function, whose numbers follow sizes.

    Raises
    ------
    Refused
        With the reason why the machine can't run it.
    """
    symbols = [symbol_of(name) for name in variables]
    if None in symbols or len(symbols) > MOST_SIZES:
        raise Refused("its shapes follow from sizes without bounds, or from more than two")
    if sum(map(is_buffer_var, function.params)) == 1:
        raise Refused("it makes numbers of sizes alone")
    known: list[Symbol] = [symbol for symbol in symbols if symbol is not None]
    candidates = [points(symbol, at) for at, symbol in enumerate(known)]
    told = list(itertools.product(*(each[: DEGREE + 1] for each in candidates)))
    more = [tuple(each[DEGREE + 1 + at] for each in candidates) for at in range(CHECKS)]
    readings = []
    for point in (*told, *more):
        operator, tables = read_vector(inlined(at_sizes(function, variables, point)))
        if tables.made:
            raise Refused("what changes with the place would be a table for each size")
        readings.append(operator)
    found = _Fit(known, told, more)(readings)
    least = {symbol.name: symbol.least for symbol in known}
    for part in found.parts:
        if min(value_at(size, least) for size in (*part.outer, part.rows, part.columns)) < 1:
            raise Refused("some of it has no elements for the smallest sizes")
    return found


def points(symbol: Symbol, at: int) -> list[int]:
    """Return sizes to read for, others for each symbol: allowed ones if there are enough."""
    allowed = [n for n in range(max(11, symbol.least), symbol.most + 1) if _is_prime(n)]
    allowed = allowed if len(allowed) >= 2 * len(FAR) else list(FAR)
    wanted = DEGREE + 1 + CHECKS
    chosen = [allowed[number * len(allowed) // wanted] for number in range(wanted)]
    return chosen[at:] + chosen[:at]


def _is_prime(number: int) -> bool:
    return all(number % each for each in range(2, math.isqrt(number) + 1))


def at_sizes(
    function: tirx.PrimFunc, variables: dict[str, tirx.Var], point: Sequence[int]
) -> tirx.PrimFunc:
    """Return a function for known sizes, without parameters for these."""
    known = {
        var: tirx.const(size, "int64") for var, size in zip(variables.values(), point, strict=True)
    }
    tensors = [each for each in function.params if is_buffer_var(each)]
    # Parameters alone are specialized.
    bare = tirx.PrimFunc([*known, *tensors], function.body, function.ret_type, function.attrs)
    return bare.specialize(known)


class _Fit:
    """Puts readings together: the numbers that differ as polynomials of the sizes."""

    def __init__(self, symbols: list[Symbol], told: list[tuple], more: list[tuple]):
        self.symbols, self.told, self.points = symbols, told, (*told, *more)
        self.powers = list(itertools.product(range(DEGREE + 1), repeat=len(symbols)))
        self.inverse = _inverse([self._monomials(point) for point in told])

    def _monomials(self, point: tuple) -> list[int]:
        return [math.prod(map(pow, point, powers)) for powers in self.powers]

    def __call__(self, values: list) -> Any:
        first = values[0]
        if any(type(value) is not type(first) for value in values):
            raise Refused("for other sizes it would be another operator")
        if isinstance(first, tuple):
            if len({len(value) for value in values}) > 1:
                raise Refused("for other sizes it would be another operator")
            return tuple(self(list(each)) for each in zip(*values, strict=True))
        if dataclasses.is_dataclass(first):
            fields = {
                field.name: self([getattr(value, field.name) for value in values])
                for field in dataclasses.fields(first)
            }
            return dataclasses.replace(first, **fields)  # type: ignore[type-var]
        if all(value == first for value in values):
            return first
        if type(first) is not int:
            raise Refused("a number of it follows from a size, or it's another operator for others")
        return self._polynomial(values)

    def _polynomial(self, values: list[int]) -> int:
        numbers = values[: len(self.told)]
        found = [sum(a * b for a, b in zip(row, numbers, strict=True)) for row in self.inverse]
        if any(coefficient.denominator != 1 for coefficient in found):
            raise Refused("a place or an extent of it is no polynomial of the sizes")
        for point, value in zip(self.points, values, strict=True):
            if sum(a * b for a, b in zip(found, self._monomials(point), strict=True)) != value:
                raise Refused("a place or an extent of it is no polynomial of the sizes")
        total = 0
        for coefficient, powers in zip(found, self.powers, strict=True):
            term = int(coefficient)
            for symbol, power in zip(self.symbols, powers, strict=True):
                for _ in range(power):
                    term = symbol.number * term
            total = term + total
        return total


def _inverse(matrix: list[list[int]]) -> list[list[Fraction]]:
    """Return the inverse of a matrix, exactly."""
    size = len(matrix)
    rows = [
        [Fraction(x) for x in row] + [Fraction(at == n) for n in range(size)]
        for at, row in enumerate(matrix)
    ]
    for at in range(size):
        pivot = next(n for n in range(at, size) if rows[n][at])
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [x / rows[at][at] for x in rows[at]]
        for n in range(size):
            if n != at and rows[n][at]:
                rows[n] = [x - rows[n][at] * y for x, y in zip(rows[n], rows[at], strict=True)]
    return [row[size:] for row in rows]
