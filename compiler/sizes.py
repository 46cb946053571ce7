"""Sizes of a module that only a call knows: which there are, their bounds, extents made of them."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar

import tvm
from tvm import relax, tirx
from tvm_ffi import structural_walk

from ..target.errors import ConfigError, unknown_name
from ..target.isa.sizes import LARGEST
from .symbolic import Symbol, grows, symbols_in, value_at

UPPER, LOWER = "tir_var_upper_bound", "tir_var_lower_bound"
"""Attributes of a Relax function, as TVM's memory planner and its importer of torch have them."""

_known: ContextVar[Mapping[str, Symbol]] = ContextVar("sizes of the module")


def variables_of(function: relax.Function) -> dict[str, tirx.Var]:
    """Return the sizes of a function by name: what its parameters' shapes leave open."""
    return {var.name: var for var in relax.analysis.defined_symbolic_vars(function)}


def variables_in(extents: Iterable) -> dict[str, tirx.Var]:
    """Return the sizes in extents by name."""
    found: dict[str, tirx.Var] = {}

    def visit(node):
        found[node.name] = node

    for extent in extents:
        structural_walk(extent, (tirx.Var, visit))
    return found


def bounded(mod: tvm.IRModule, most: Mapping[str, int]) -> dict[str, Symbol]:
    """Return the sizes of a module by name that have bounds.

    What has a size without one stays on the host.

    Parameters
    ----------
    most : mapping of str to int
        Largest sizes that the user gives; a function's attributes say the others.

    Raises
    ------
    ConfigError
        For a name that no size has, and a bound that the model doesn't allow.
    """
    found: dict[str, Symbol] = {}
    there: set[str] = set()
    for function in mod.functions.values():
        if not isinstance(function, relax.Function):
            continue
        for name in variables_of(function):
            least, limit = _bound(function, LOWER, name), _bound(function, UPPER, name)
            given = most.get(name, limit)
            there.add(name)
            if given is None:
                continue
            least = max(1, least or 1)
            if not least <= given <= (LARGEST if limit is None else limit):
                raise ConfigError(
                    f"max_sizes: {name} = {given}; allowed: {least} to "
                    f"{LARGEST if limit is None else limit}"
                )
            before = found.setdefault(name, Symbol(name, least, given))
            found[name] = Symbol(name, min(before.least, least), max(before.most, given))
    for name in most:
        if name not in there:
            raise ConfigError(f"max_sizes: {unknown_name('size', name, there)}")
    return found


def _bound(function: relax.Function, attribute: str, name: str) -> int | None:
    bounds = (function.attrs or {}).get(attribute) or {}
    return int(bounds[name]) if name in bounds else None


@contextlib.contextmanager
def with_bounds(known: Mapping[str, Symbol]) -> Iterator[None]:
    """Let shapes be read as numbers that follow these sizes."""
    token = _known.set(known)
    try:
        yield
    finally:
        _known.reset(token)


def symbol_of(name: str) -> Symbol | None:
    """Return the size of a name, None for one without bounds."""
    return _known.get({}).get(name)


def number_of(extent) -> int | None:
    """Return an extent of a shape as a number, None for one of sizes without bounds."""
    if isinstance(extent, int):
        return extent
    if isinstance(extent, tirx.IntImm):
        return int(extent)
    if isinstance(extent, tirx.Var):
        symbol = symbol_of(extent.name)
        return None if symbol is None else symbol.number
    combine = COMBINE.get(type(extent))
    if combine is None:
        return None
    left, right = number_of(extent.a), number_of(extent.b)
    return None if left is None or right is None else combine(left, right)


def _smaller(a: int, b: int) -> int | None:
    """Return the number that is the smaller one for all sizes, None where that isn't seen."""
    if _least(b - a) >= 0:
        return a
    return b if _least(a - b) >= 0 else None


def _larger(a: int, b: int) -> int | None:
    smaller = _smaller(a, b)
    return None if smaller is None else b if smaller is a else a


def _least(number: int) -> int:
    """Return a number for the sizes at which it is the smallest, -1 where that isn't seen."""
    smallest = {each.name: each.least for each in symbols_in(number)}
    if grows(number):
        return value_at(number, smallest)
    return int(number) if grows(-number) else -1


COMBINE = {
    tirx.Min: _smaller,
    tirx.Max: _larger,
    tirx.Add: lambda a, b: a + b,
    tirx.Sub: lambda a, b: a - b,
    tirx.Mul: lambda a, b: a * b,
    tirx.FloorDiv: lambda a, b: a // b,
    tirx.FloorMod: lambda a, b: a % b,
}
