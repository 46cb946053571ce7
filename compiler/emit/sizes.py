"""From numbers that follow sizes, as an operator has them, to the tables of a function."""

from collections.abc import Sequence
from dataclasses import replace

from ...target.errors import UnsupportedError
from ...target.isa.program import Function
from ...target.isa.sizes import Row, Shapes, Size, Sizes, numbers_of, with_number
from ...target.isa.spec import Instruction
from ..symbolic import Atom, Quotient, Symbol, Symbolic, Terms, largest, symbols_of, terms_of


def with_sizes(function: Function) -> Function:
    """Return a function with plain numbers, those for the largest sizes, and tables beside them.

    Raises
    ------
    UnsupportedError
        For a size that no argument tells.
    """
    shapes = tuple(tuple(argument.shape) for argument in function.arguments)
    symbols = tuple(symbols_of(shapes))
    table = _Table(symbols)
    code, operands = list(function.code), []
    for at, operand, place, number in _symbolic_operands(code):
        operands.append((at, operand, place, table.value(number)))
        code[at] = with_number(code[at], operand, place, int(number))
    extents = [
        (argument, dimension, table.value(extent))
        for argument, shape in enumerate(shapes)
        for dimension, extent in enumerate(shape)
        if isinstance(extent, Symbolic)
    ]
    sizes = tuple(_size(symbol, shapes) for symbol in symbols)
    arguments = tuple(
        replace(argument, shape=largest(shape))
        for argument, shape in zip(function.arguments, shapes, strict=True)
    )
    tables = Sizes(sizes, tuple(table.rows), tuple(extents), tuple(operands))
    return replace(function, arguments=arguments, code=tuple(code), sizes=tables)


def _symbolic_operands(code: Sequence[Instruction]) -> list[tuple[int, int, int, Symbolic]]:
    return [
        (at, operand, place, number)
        for at, instruction in enumerate(code)
        for operand, (name, kind, _) in enumerate(instruction.operands())
        for place, number in enumerate(numbers_of(kind, getattr(instruction, name)))
        if isinstance(number, Symbolic)
    ]


def _size(symbol: Symbol, shapes: Shapes) -> Size:
    """Return a size with the first extent that follows from it alone, without rounding."""
    for argument, shape in enumerate(shapes):
        for dimension, extent in enumerate(shape):
            terms = dict(terms_of(extent))
            rest, factor = terms.pop((), 0), terms.pop((symbol,), 0)
            if factor > 0 and not terms:
                place = (argument, dimension, factor, rest)
                return Size(symbol.name, symbol.least, symbol.most, *place)
    raise UnsupportedError(f"no argument's shape tells the size '{symbol}'")


class _Table:
    """Values as rows of the table, each there once."""

    def __init__(self, symbols: Sequence[Symbol]):
        self.rows: list[Row] = []
        self.index: dict[object, int] = {symbol: at for at, symbol in enumerate(symbols)}

    def value(self, number: Symbolic) -> int:
        """Return where a number stands."""
        ((product, coefficient), *others) = number.terms
        if not others and coefficient == 1 and len(product) == 1:
            return self._atom(product[0])
        return self._row(number.terms, 1)

    def _atom(self, atom: Atom) -> int:
        if isinstance(atom, Quotient):
            return self._row(atom.terms, atom.divisor)
        if atom not in self.index:
            raise UnsupportedError(f"no argument's shape tells the size '{atom}'")
        return self.index[atom]

    def _row(self, terms: Terms, divisor: int) -> int:
        key = (terms, divisor)
        if key not in self.index:
            line = tuple((c, tuple(map(self._atom, product))) for product, c in terms)
            self.rows.append(Row(divisor, line))
            self.index[key] = len(self.index)
        return self.index[key]
