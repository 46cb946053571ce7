"""Products whose result one vector operator alone reads: it takes each tile on at once."""

from collections.abc import Callable
from dataclasses import dataclass

from ...link.places import Source
from .tensors import readers_of


@dataclass(frozen=True)
class Chain:
    """An operator, or one and the operator that takes its tiles on.

    Attributes
    ----------
    argument : int
        Of the second operator, which the first one gives.
    """

    first: str
    second: str = ""
    argument: int = 0


@dataclass(frozen=True)
class Results:
    """Calls of a run in order, with what they read and who else reads what they give.

    Attributes
    ----------
    chains : list of Chain
        What each call does.
    given : list of list of relax.Expr
        By call, what its inputs are: of a chain those of the first operator, then others of the
        second.
    sources : dict of relax.Var to Source
        Variables of the run, through views.
    outside : list of Source
        Results that are read outside of the run.
    """

    chains: list[Chain]
    given: list[list]
    sources: dict
    outside: list[Source]


def chained(results: Results, can: Callable[[Chain], bool]) -> Results:
    """Return the calls with an operator and what takes its result on as one, wherever that can be.

    They stand in the place of the second: what else it reads is there then.

    Parameters
    ----------
    can : callable
        Tells whether two operators are one function.
    """
    pairs = _pairs(results, can)
    taken = {first for first, _ in pairs.values()}
    left = [number for number in range(len(results.chains)) if number not in taken]
    place = {number: at for at, number in enumerate(left)}
    chains, given = [], []
    for number in left:
        first, chain = pairs.get(number, (number, results.chains[number]))
        own = list(results.given[number])
        if number in pairs:
            del own[chain.argument]
            own = [*results.given[first], *own]
        chains.append(chain)
        given.append(own)
    sources = {
        var: (place[call], result)
        for var, (call, result) in results.sources.items()
        if call not in taken
    }
    outside = [(place[call], result) for call, result in results.outside]
    return Results(chains, given, sources, outside)


def _pairs(results: Results, can: Callable[[Chain], bool]) -> dict[int, tuple[int, Chain]]:
    """Return calls that alone read what one other call gives, that one, and both as a chain."""
    found: dict[int, tuple[int, Chain]] = {}
    firsts: set[int] = set()
    for source, readers in readers_of(results.given, results.sources).items():
        first, (reader, argument) = source[0], readers[0]
        alone = len(readers) == 1 and source not in results.outside
        if alone and first not in found and reader not in found and reader not in firsts:
            names = results.chains[first].first, results.chains[reader].first
            chain = Chain(*names, argument)
            if can(chain):
                found[reader] = first, chain
                firsts.add(first)
    return found
