"""The tensors of a run: where each variable's bytes come from, and who else reads them."""

from dataclasses import dataclass

from tvm import relax

from ....target.isa.program import Argument, Function, size_of
from ...emit.state import Room
from ...link.calls import Tensor
from ...link.places import Source, argument_number
from ...link.workspace import Life, shared_places

WORKSPACE = "workspace"
"""The argument that holds what only the run itself reads."""


@dataclass(frozen=True)
class Bound:
    """A run's calls with their tensors.

    Attributes
    ----------
    arguments : tuple of Argument
        Of the joined function.
    inputs : list of relax.Expr
        What it is given.
    outputs : list of (int, int)
        Which results are read outside; those it returns, in order, and the workspace last.
    calls : list of tuple of Tensor
        By call, those of its arguments.
    """

    arguments: tuple[Argument, ...]
    inputs: list
    outputs: list[Source]
    calls: list[tuple[Tensor, ...]]


def readers_of(given: list[list], sources: dict) -> dict[Source, list[tuple[int, int]]]:
    """Return which arguments of which calls read each result that any call of the run reads."""
    found: dict[Source, list[tuple[int, int]]] = {}
    for number, exprs in enumerate(given):
        for argument, expr in enumerate(exprs):
            if isinstance(expr, relax.Var) and expr in sources:
                found.setdefault(sources[expr], []).append((number, argument))
    return found


def bind(
    functions: list[Function],
    given: list[list],
    sources: dict,
    outside: list[Source],
    rooms: list[Room],
) -> Bound:
    """Return what a run's function takes and gives, and where its calls' tensors lie.

    Parameters
    ----------
    given : list of list of relax.Expr
        By call, what its inputs are.
    sources : dict of relax.Var to Source
        Variables of the run, through views.
    outside : list of Source
        Results that are read outside of the run.
    rooms : list of Room
        By call, what of its tensors stays on the chip.
    """
    inputs: list = []
    places: dict = {}
    arguments: list[Argument] = []
    for function, exprs in zip(functions, given, strict=True):
        for argument, expr in zip(function.arguments, exprs, strict=False):
            if isinstance(expr, relax.Var) and expr in sources:
                continue
            key = expr if isinstance(expr, relax.Var) else expr.value
            if key not in places:
                places[key] = Tensor(len(inputs), 0, size_of(argument))
                inputs.append(expr)
                arguments.append(_named(argument, f"in{len(inputs) - 1}", False))
    results = _results(functions)
    tensors: dict[Source, Tensor] = {}
    for number, source in enumerate(outside):
        argument = results[source]
        tensors[source] = Tensor(len(arguments), 0, size_of(argument))
        arguments.append(_named(argument, f"out{number}", True))
    stay = {source: _stays(source, results[source], functions, rooms) for source in results}
    tensors |= {source: place for source, place in stay.items() if place is not None}
    inner = [source for source in results if source not in tensors]
    lives = [_life(source, results[source], given, sources) for source in inner]
    offsets, total = shared_places(lives)
    for source, life, offset in zip(inner, lives, offsets, strict=True):
        tensors[source] = Tensor(len(arguments), offset, life.size)
    if inner:
        arguments.append(Argument(WORKSPACE, "int8", (max(1, total),), True))
    calls = []
    for number, (function, exprs) in enumerate(zip(functions, given, strict=True)):
        taken = [
            tensors[sources[expr]]
            if isinstance(expr, relax.Var) and expr in sources
            else places[expr if isinstance(expr, relax.Var) else expr.value]
            for expr in exprs
        ]
        for at, address in rooms[number].kept.items():
            if at < len(exprs):
                taken[at] = Tensor(None, address, taken[at].size)
        made = len(function.arguments) - len(exprs)
        taken += [tensors[(number, index)] for index in range(made)]
        calls.append(tuple(taken))
    return Bound(tuple(arguments), inputs, outside, calls)


def _stays(
    source: Source, argument: Argument, functions: list[Function], rooms: list[Room]
) -> Tensor | None:
    """Return the place of a result that never leaves the chip, None of one that does."""
    room, number = rooms[source[0]], argument_number(functions[source[0]], source)
    if number not in room.kept or number in room.stored:
        return None
    return Tensor(None, room.kept[number], size_of(argument))


def _named(argument: Argument, name: str, is_output: bool) -> Argument:
    return Argument(name, argument.dtype, argument.shape, is_output)


def _results(functions: list[Function]) -> dict[Source, Argument]:
    return {
        (number, index): argument
        for number, function in enumerate(functions)
        for index, argument in enumerate(a for a in function.arguments if a.is_output)
    }


def _life(source: Source, argument: Argument, given: list[list], sources: dict) -> Life:
    readers = [
        number
        for number, exprs in enumerate(given)
        for expr in exprs
        if isinstance(expr, relax.Var) and sources.get(expr) == source
    ]
    return Life(size_of(argument), source[0], max(readers, default=source[0]))
