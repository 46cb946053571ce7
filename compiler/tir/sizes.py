"""Numbers that follow sizes, as tensor expressions have them."""

import dataclasses
from typing import Any

from tvm import tirx

from ..symbolic import Atom, Symbol, Symbolic, Terms


class Extents:
    """The numbers of one function: each symbol is a variable of it."""

    def __init__(self, variables: dict[str, tirx.Var] | None = None):
        self.variables = {} if variables is None else variables

    def __call__(self, value: Any) -> Any:
        """Return a number, or a tuple or a dataclass of some, with expressions for the symbolic."""
        if isinstance(value, Symbolic):
            return self._sum(value.terms)
        if isinstance(value, tuple):
            return tuple(map(self, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return dataclasses.replace(value, **{name: self(each) for name, each in fields.items()})
        return value

    def _sum(self, terms: Terms):
        total: Any = None
        for product, coefficient in terms:
            term: Any = None
            for atom in product:
                factor = self._atom(atom)
                term = factor if term is None else term * factor
            constant = tirx.const(coefficient, "int64")
            term = constant if term is None else term if coefficient == 1 else term * constant
            total = term if total is None else total + term
        return total

    def _atom(self, atom: Atom):
        if isinstance(atom, Symbol):
            if atom.name not in self.variables:
                self.variables[atom.name] = tirx.Var(atom.name, "int64")
            return self.variables[atom.name]
        return tirx.floordiv(self._sum(atom.terms), tirx.const(atom.divisor, "int64"))
