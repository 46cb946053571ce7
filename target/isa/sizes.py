"""Sizes of a function that only a call knows, and what of the function follows from them.

A function stands in its program as it is for the largest sizes. Tables beside it say which extents
of its arguments and which numbers of its instructions follow from sizes, and how; the function for
other sizes is made of them before it runs, as a driver patches a stream of commands.
"""

import dataclasses
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import InputError, IsaError
from .spec import AFFINE, I32, I64, LOOP_DEPTH, U16, U32, Affine, Instruction, Kind

LARGEST = (1 << 31) - 1
"""Of a size, of a divisor, and of what a size is multiplied by in an extent."""
MOST_VALUES, MOST_FACTORS = 1 << 16, 8
LIMIT = 1 << 62
"""What all numbers on the way to a value are below."""
LONGEST = 100
"""Letters of a formula in a listing."""
PLACES: dict[Kind, int] = {AFFINE: 1 + 2 * LOOP_DEPTH, U16: 1, U32: 1, I32: 1, I64: 1}
"""Numbers of an operand that may follow sizes: of an affine one its base, strides, turns."""

Shapes = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Size:
    """A size with its bounds, and the extent that tells it: ``factor * size + rest``."""

    name: str
    least: int
    most: int
    argument: int
    dimension: int
    factor: int = 1
    rest: int = 0

    @property
    def extent(self) -> str:
        """How the extent follows from it."""
        scaled = self.name if self.factor == 1 else f"{self.factor}*{self.name}"
        return scaled + (f"{self.rest:+}" if self.rest else "")


@dataclass(frozen=True)
class Row:
    """A value: ``sum(coefficient * product of earlier values) // divisor``."""

    divisor: int
    terms: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a function, and its tables; values are numbered from the sizes on.

    Attributes
    ----------
    extents : tuple of (argument, dimension, value)
    operands : tuple of (instruction, operand, place, value)
        Both in ascending order.
    """

    sizes: tuple[Size, ...] = ()
    rows: tuple[Row, ...] = ()
    extents: tuple[tuple[int, int, int], ...] = ()
    operands: tuple[tuple[int, int, int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sizes)

    def values(self, sizes: Mapping[str, int]) -> list[int]:
        """Return all values for sizes by name.

        Raises
        ------
        IsaError
            For one that leaves 62 bits.
        """
        values = [sizes[size.name] for size in self.sizes]
        for row in self.rows:
            total = 0
            for coefficient, factors in row.terms:
                product = coefficient
                for factor in factors:
                    product = _within(len(values), product * values[factor])
                total = _within(len(values), total + product)
            values.append(total // row.divisor)
        return values

    @property
    def largest(self) -> dict[str, int]:
        """The largest sizes by name."""
        return {size.name: size.most for size in self.sizes}

    def of(self, shapes: Shapes) -> dict[str, int]:
        """Return the sizes by name that arguments of some shapes tell.

        Raises
        ------
        InputError
            For one out of its bounds, and for an extent that no size has.
        """
        found = {}
        for size in self.sizes:
            extent = shapes[size.argument][size.dimension]
            value, left = divmod(extent - size.rest, size.factor)
            if left or not size.least <= value <= size.most:
                raise InputError(
                    f"argument {size.argument}, dimension {size.dimension}: {extent}; allowed: "
                    f"{size.extent} with {size.name} from {size.least} to {size.most}"
                )
            found[size.name] = value
        return found

    def shapes(self, shapes: Shapes, values: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the shapes of arguments for some values."""
        found = [list(shape) for shape in shapes]
        for argument, dimension, value in self.extents:
            found[argument][dimension] = values[value]
        return list(map(tuple, found))

    def code(self, code: Sequence[Instruction], values: Sequence[int]) -> tuple[Instruction, ...]:
        """Return instructions for some values."""
        found = list(code)
        for at, operand, place, value in self.operands:
            found[at] = with_number(found[at], operand, place, values[value])
        return tuple(found)

    def formulas(self) -> dict[int, str]:
        """Return by instruction what of it follows from sizes, for listings."""
        texts = [size.name for size in self.sizes]
        for row in self.rows:
            text = _text(row, texts)
            texts.append(text if len(text) <= LONGEST else f"value {len(texts)}")
        found: dict[int, list[str]] = {}
        for at, _, _, value in self.operands:
            found.setdefault(at, []).append(texts[value])
        return {at: ", ".join(dict.fromkeys(each)) for at, each in found.items()}


NO_SIZES = Sizes()


def _within(value: int, number: int) -> int:
    if not -LIMIT < number < LIMIT:
        raise IsaError(f"value {value} leaves 62 bits")
    return number


def _text(row: Row, texts: list[str]) -> str:
    out = ""
    for coefficient, factors in row.terms:
        names = [f"({texts[f]})" if set("+-/") & set(texts[f]) else texts[f] for f in factors]
        number = [str(abs(coefficient))] if abs(coefficient) != 1 or not factors else []
        out += ("-" if coefficient < 0 else "+" if out else "") + "*".join(number + names)
    return out if row.divisor == 1 else f"({out})//{row.divisor}"


def numbers_of(kind: Kind, value) -> tuple[int, ...]:
    """Return the numbers of an operand that may follow sizes."""
    if kind is AFFINE:
        return (value.base, *value.strides, *value.turns)
    return (value,) if kind in PLACES else ()


def number_at(instruction: Instruction, operand: int, place: int) -> int:
    """Return a number of an operand.

    Raises
    ------
    IsaError
        When there's none that may follow sizes.
    """
    operands = instruction.operands()
    if operand < len(operands):
        name, kind, _ = operands[operand]
        numbers = numbers_of(kind, getattr(instruction, name))
        if place < len(numbers):
            return numbers[place]
    raise IsaError(f"{instruction.mnemonic}: operand {operand}, place {place} follows no size")


def with_number(instruction: Instruction, operand: int, place: int, number: int) -> Instruction:
    """Return an instruction with another number in the place of one that may follow sizes."""
    name, kind, _ = instruction.operands()[operand]
    value: object = number
    if kind is AFFINE:
        numbers = list(numbers_of(kind, getattr(instruction, name)))
        numbers[place] = number
        base, strides, turns = numbers[0], numbers[1 : 1 + LOOP_DEPTH], numbers[1 + LOOP_DEPTH :]
        affine: Affine = getattr(instruction, name)
        value = dataclasses.replace(affine, base=base, strides=tuple(strides), turns=tuple(turns))
    return dataclasses.replace(instruction, **{name: value})  # type: ignore[type-var]


def to_bytes(sizes: Sizes) -> bytes:
    """Return the saved form."""
    out = [struct.pack("<I", len(sizes.sizes))]
    for size in sizes.sizes:
        raw = size.name.encode()
        numbers = (size.least, size.most, size.argument, size.dimension, size.factor, size.rest)
        out.append(struct.pack("<I", len(raw)) + raw + struct.pack("<qqIIqq", *numbers))
    out.append(struct.pack("<I", len(sizes.rows)))
    for row in sizes.rows:
        out.append(struct.pack("<qI", row.divisor, len(row.terms)))
        for coefficient, factors in row.terms:
            out.append(struct.pack(f"<qI{len(factors)}I", coefficient, len(factors), *factors))
    for table in (sizes.extents, sizes.operands):
        out.append(struct.pack("<I", len(table)))
        out += [struct.pack(f"<{len(line)}I", *line) for line in table]
    return b"".join(out)


class Reader(Protocol):
    """What reads a saved program."""

    def number(self, fmt: str) -> int: ...
    def count(self) -> int: ...
    def text(self) -> str: ...


def read_sizes(reader: Reader, shapes: Shapes, code: Sequence[Instruction]) -> Sizes:
    """Return the sizes in the saved form of a function with such arguments and instructions.

    Raises
    ------
    IsaError
        For tables that refer to what isn't there, or that give other numbers for the largest sizes
        than the function has.
    """
    sizes: list[Size] = []
    for _ in range(reader.count()):
        sizes.append(_read_size(reader, shapes))
        if sizes[-1].name in {size.name for size in sizes[:-1]}:
            raise IsaError(f"two sizes are named '{sizes[-1].name}'")
    count = reader.count()
    if count > MOST_VALUES:
        raise IsaError(f"{count} values; allowed: up to {MOST_VALUES}")
    rows = tuple(_read_row(reader, at) for at in range(len(sizes), len(sizes) + count))
    lines = tuple(_read_lines(reader, width) for width in (3, 4))
    found = Sizes(tuple(sizes), rows, *lines)  # type: ignore[arg-type]
    values = found.values(found.largest)
    for argument, dimension, value in found.extents:
        if argument >= len(shapes) or dimension >= len(shapes[argument]):
            raise IsaError(f"argument {argument}, dimension {dimension} isn't there")
        _check_same(values, value, shapes[argument][dimension])
    for at, operand, place, value in found.operands:
        if at >= len(code):
            raise IsaError(f"value for instruction {at}; the function has {len(code)}")
        _check_same(values, value, number_at(code[at], operand, place))
    return found


def _read_size(reader: Reader, shapes: Shapes) -> Size:
    name, least, most = reader.text(), reader.number("<q"), reader.number("<q")
    size = Size(
        name, least, most, reader.count(), reader.count(), reader.number("<q"), reader.number("<q")
    )
    if not 1 <= least <= most <= LARGEST:
        raise IsaError(f"size '{name}': from {least} to {most}; allowed: 1 to {LARGEST}")
    there = size.argument < len(shapes) and size.dimension < len(shapes[size.argument])
    fits = 1 <= size.factor <= LARGEST and -LIMIT < size.rest < LIMIT
    if not there or not fits or _extent(size) != shapes[size.argument][size.dimension]:
        raise IsaError(
            f"size '{name}': argument {size.argument}, dimension {size.dimension} isn't "
            f"{size.factor} * {most} + {size.rest}"
        )
    return size


def _extent(size: Size) -> int:
    return size.factor * size.most + size.rest


def _read_row(reader: Reader, at: int) -> Row:
    divisor = reader.number("<q")
    if not 1 <= divisor <= LARGEST:
        raise IsaError(f"value {at}: divisor {divisor}; allowed: 1 to {LARGEST}")
    terms = []
    for _ in range(reader.count()):
        coefficient, count = reader.number("<q"), reader.count()
        if count > MOST_FACTORS:
            raise IsaError(f"value {at}: {count} factors; allowed: up to {MOST_FACTORS}")
        factors = tuple(reader.count() for _ in range(count))
        if factors and max(factors) >= at:
            raise IsaError(f"value {at} needs value {max(factors)}; allowed: earlier ones")
        terms.append((coefficient, factors))
    return Row(divisor, tuple(terms))


def _read_lines(reader: Reader, width: int) -> tuple[tuple[int, ...], ...]:
    """Read lines of numbers, all but the last of which say where a value goes."""
    return tuple(_in_order(reader, width))


def _in_order(reader: Reader, width: int) -> Iterator[tuple[int, ...]]:
    last: tuple[int, ...] = ()
    for _ in range(reader.count()):
        line = tuple(reader.count() for _ in range(width))
        if line[:-1] <= last:
            raise IsaError(f"a value for {line[:-1]} behind one for {last}; allowed: in order")
        last = line[:-1]
        yield line


def _check_same(values: Sequence[int], value: int, stored: int) -> None:
    if value >= len(values):
        raise IsaError(f"value {value}; the function has {len(values)}")
    if values[value] != stored:
        raise IsaError(
            f"value {value} is {values[value]} for the largest sizes; {stored} stands there"
        )
