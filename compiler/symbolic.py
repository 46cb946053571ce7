"""Integers that follow sizes which only a call knows.

Such a number is the one for the largest sizes wherever somebody asks for a number, so that all
decisions are made for these; and it remembers its terms, so that what was made of it tells by
itself what it is for other sizes.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..target.errors import UnsupportedError

Terms = tuple[tuple[tuple["Atom", ...], int], ...]
"""Coefficients by product, in a fixed order; the empty product is the constant."""


@dataclass(frozen=True)
class Symbol:
    """The name of a size that only a call knows, with its bounds."""

    name: str
    least: int
    most: int

    @property
    def number(self) -> "Symbolic":
        return Symbolic(self.most, (((self,), 1),))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """A sum of products divided by a number and rounded down."""

    terms: Terms
    divisor: int

    def __str__(self) -> str:
        return f"({_text(self.terms)})//{self.divisor}"


Atom = Symbol | Quotient


class Symbolic(int):
    """An integer made of sizes: its value for the largest ones, and its terms.

    Equal ones have equal terms; none equals a plain integer. Their order is that of their values.
    """

    terms: Terms

    def __new__(cls, value: int, terms: Terms) -> "Symbolic":
        number = super().__new__(cls, value)
        number.terms = terms
        return number

    def at(self, sizes: Mapping[str, int]) -> int:
        """Return the value for sizes by name."""
        return _at(self.terms, sizes)

    def __add__(self, other: int) -> int:
        return _number(int(self) + int(other), (*self.terms, *terms_of(other)))

    def __mul__(self, other: int) -> int:
        products = [((*p, *q), a * b) for p, a in self.terms for q, b in terms_of(other)]
        return _number(int(self) * int(other), products)

    def __floordiv__(self, divisor: int) -> int:
        if isinstance(divisor, Symbolic):
            return self._exactly(divisor)
        whole = [(product, c // divisor) for product, c in self.terms]
        rest = _canonical((product, c % divisor) for product, c in self.terms)
        if any(product for product, _ in rest):
            whole.append(((Quotient(rest, divisor),), 1))
        return _number(int(self) // divisor, whole)

    def _exactly(self, divisor: "Symbolic") -> int:
        """Return the quotient of one product that each term has."""
        found = []
        for product, c in self.terms:
            left = list(product)
            for atom in divisor.terms[0][0]:
                if atom not in left:
                    raise UnsupportedError(f"{self} isn't known to be a multiple of {divisor}")
                left.remove(atom)
            found.append((tuple(left), c // divisor.terms[0][1]))
        if len(divisor.terms) > 1 or any(c % divisor.terms[0][1] for _, c in self.terms):
            raise UnsupportedError(f"{self} isn't known to be a multiple of {divisor}")
        return _number(int(self) // int(divisor), found)

    def __rfloordiv__(self, other: int) -> int:
        raise UnsupportedError(f"{other} isn't known to be a multiple of {self}")

    def __mod__(self, divisor: int) -> int:
        return self - self // divisor * divisor

    def __neg__(self) -> int:
        return self * -1

    def __sub__(self, other: int) -> int:
        return self + other * -1

    def __rsub__(self, other: int) -> int:
        return self * -1 + other

    __radd__, __rmul__ = __add__, __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symbolic) and self.terms == other.terms

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.terms)

    def __str__(self) -> str:
        return _text(self.terms)

    __repr__ = __str__

    def __deepcopy__(self, _memo: Any) -> "Symbolic":
        return self

    def __reduce__(self) -> tuple:
        return Symbolic, (int(self), self.terms)


def terms_of(number: int) -> Terms:
    """Return the terms of any integer."""
    if isinstance(number, Symbolic):
        return number.terms
    return (((), int(number)),) if number else ()


def value_at(number: int, sizes: Mapping[str, int]) -> int:
    """Return the value of any integer for sizes by name."""
    return number.at(sizes) if isinstance(number, Symbolic) else number


def symbols_in(number: int) -> Iterator[Symbol]:
    """Yield the symbols that an integer is made of, as often as they appear."""
    for product, _ in terms_of(number):
        for atom in product:
            if isinstance(atom, Symbol):
                yield atom
            else:
                yield from symbols_in(Symbolic(0, atom.terms))


def largest(value: Any) -> Any:
    """Return a number, or a dataclass or a tuple of some, as it is for the largest sizes."""
    if isinstance(value, Symbolic):
        return int(value)
    if isinstance(value, tuple):
        return tuple(map(largest, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: largest(each) for name, each in fields.items()})
    return value


def symbols_of(value: Any) -> dict[Symbol, None]:
    """Return the symbols in a number, or in a dataclass or a tuple of some, in order."""
    if isinstance(value, Symbolic):
        return dict.fromkeys(symbols_in(value))
    each: Iterable = value if isinstance(value, tuple) else ()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        each = (getattr(value, field.name) for field in dataclasses.fields(value))
    return {symbol: None for one in each for symbol in symbols_of(one)}


def grows(number: int) -> bool:
    """Tell whether a number is no larger for smaller sizes, as far as its terms tell at once."""
    return all(
        coefficient > 0 and all(isinstance(a, Symbol) or _grow(a.terms) for a in product)
        for product, coefficient in terms_of(number)
        if product
    )


def _grow(terms: Terms) -> bool:
    return grows(Symbolic(0, terms))


def _number(value: int, terms: Iterable[tuple[tuple[Atom, ...], int]]) -> int:
    """Return a number of its value and terms, a plain one where no size is left."""
    found = _canonical(terms)
    return Symbolic(value, found) if any(product for product, _ in found) else value


def _canonical(terms: Iterable[tuple[tuple[Atom, ...], int]]) -> Terms:
    sums: dict[tuple[Atom, ...], int] = {}
    for product, coefficient in terms:
        key = tuple(sorted(product, key=str))
        sums[key] = sums.get(key, 0) + coefficient
    # Longest products first, the constant last.
    order = sorted(sums.items(), key=lambda term: (-len(term[0]), list(map(str, term[0]))))
    return tuple((product, c) for product, c in order if c)


def _at(terms: Terms, sizes: Mapping[str, int]) -> int:
    return sum(c * math.prod(_atom_at(atom, sizes) for atom in product) for product, c in terms)


def _atom_at(atom: Atom, sizes: Mapping[str, int]) -> int:
    return sizes[atom.name] if isinstance(atom, Symbol) else _at(atom.terms, sizes) // atom.divisor


def _factor(atom: Atom, among: bool) -> str:
    return f"({atom})" if among and isinstance(atom, Quotient) else str(atom)


def _text(terms: Terms) -> str:
    out = ""
    for product, coefficient in terms:
        factors = [_factor(atom, len(product) > 1 or abs(coefficient) != 1) for atom in product]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, str(abs(coefficient)))
        sign = "-" if coefficient < 0 else "+" if out else ""
        out += sign + "*".join(factors)
    return out
