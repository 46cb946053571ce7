"""Products whose result one vector operator alone reads: it takes each tile on at once."""

from collections.abc import Callable
from dataclasses import dataclass

from ...link.places import Source
from .tensors import readers_of


@dataclass(frozen=True)
class Results:
    """Calls of a run in order, with what they read and who else reads what they give.

    Attributes
    ----------
    names : list of tuple of str
        Of the operator, or of a product and the operator that takes its tiles on.
    given : list of list of relax.Expr
        By call, what its inputs are.
    sources : dict of relax.Var to Source
        Variables of the run, through views.
    outside : list of Source
        Results that are read outside of the run.
    """

    names: list[tuple[str, ...]]
    given: list[list]
    sources: dict
    outside: list[Source]


def chained(results: Results, can: Callable[[str, str], bool]) -> Results:
    """Return the calls with a product and what takes its result on as one, wherever that can be.

    Parameters
    ----------
    can : callable
        Tells it of two operators.
    """
    first = _pairs(results, can)
    behind = {product: reader for reader, product in first.items()}
    left = [number for number in range(len(results.names)) if number not in first]
    place = {number: at for at, number in enumerate(left)}
    place |= {reader: place[product] for reader, product in first.items()}
    names = [results.names[n] + (results.names[behind[n]] if n in behind else ()) for n in left]
    sources = {
        var: (place[call], result)
        for var, (call, result) in results.sources.items()
        if call not in behind
    }
    outside = [(place[call], result) for call, result in results.outside]
    return Results(names, [results.given[number] for number in left], sources, outside)


def _pairs(results: Results, can: Callable[[str, str], bool]) -> dict[int, int]:
    """Return which calls read nothing but what one other call gives to them alone, and that one."""
    found: dict[int, int] = {}
    for source, readers in readers_of(results.given, results.sources).items():
        product, reader = source[0], readers[0][0]
        alone = len(readers) == 1 and source not in results.outside and product not in found
        if alone and len(results.given[reader]) == 1:
            (one,), (other,) = results.names[product], results.names[reader]
            if can(one, other):
                found[reader] = product
    return found
