"""The spans that the core records, and the tiles that they make up."""

from dataclasses import dataclass

import numpy as np

from ...target.isa.spec import LOOP_DEPTH, Unit
from .trace_code import Listing

UNITS = tuple(unit for unit in Unit if unit is not Unit.CONTROL)
SPAN = np.dtype(
    {
        "names": ["begin", "end", "unit", "cause", "pc", "depth", "counters"],
        "formats": ["<i8", "<i8", "<u2", "<u2", "<u4", "<u4", ("<i4", (LOOP_DEPTH,))],
        "offsets": [0, 8, 16, 18, 20, 24, 28],
        "itemsize": 64,
    }
)
"""`Span` in runtime/src/timing/timing.h: cycles that a unit spent on one thing."""
NO_PC = 0xFFFFFFFF


def decode(raw: bytes) -> np.ndarray:
    """Return the spans of one call, in the order of their begin.

    Parameters
    ----------
    raw : bytes
        One entry of `microscopiq.traces`.

    Returns
    -------
    numpy.ndarray
        (spans,) of dtype `SPAN`; cycles count from the call's start. Neighbours on one unit that
        say the same of one instruction are one span.
    """
    spans = np.frombuffer(raw, SPAN)
    spans = spans[np.lexsort((spans["begin"], spans["unit"]))]
    starts = np.ones(len(spans), bool)
    starts[1:] = spans["begin"][1:] != spans["end"][:-1]
    for name in ("unit", "cause", "pc", "depth"):
        starts[1:] |= spans[name][1:] != spans[name][:-1]
    starts[1:] |= (spans["counters"][1:] != spans["counters"][:-1]).any(axis=1)
    joined = spans[starts]
    joined["end"] = spans["end"][np.append(starts[1:], True)[: len(spans)]]
    return joined[np.argsort(joined["begin"], kind="stable")]


def computing_unit(spans: np.ndarray) -> Unit:
    """Return the unit that a call's tiles are told by: the array, or what works instead."""
    busy = set(spans["unit"][spans["cause"] == 0].tolist())
    return next((u for u in (Unit.ARRAY, Unit.VECTOR, *UNITS) if u in busy), Unit.ARRAY)


@dataclass(frozen=True)
class Tile:
    """One iteration of a loop, from the unit's first cycle in it to its last."""

    begin: int
    end: int
    loop: str
    name: str
    counter: int
    count: int


def tiles(spans: np.ndarray, listing: Listing, unit: Unit) -> list[Tile]:
    """Return the iterations of all loops that repeat, outer ones before inner ones."""
    found: list[tuple[int, Tile]] = []
    path: list[tuple] = []
    begins: list[int] = []
    last = 0

    def close(depth: int) -> None:
        while len(path) > depth:
            (loop, counter), begin = path.pop(), begins.pop()
            tile = Tile(begin, last, f"i{loop.level}", loop.name, counter, loop.count)
            found.append((len(path), tile))

    own = spans[(spans["unit"] == unit) & (spans["pc"] != NO_PC)]
    for begin, end, pc, counters in own[["begin", "end", "pc", "counters"]].tolist():
        loops = listing.steps[pc].loops
        here = [(loop, counters[loop.level]) for loop in loops if loop.count > 1]
        same = 0
        while same < min(len(here), len(path)) and here[same] == path[same]:
            same += 1
        close(same)
        path += here[same:]
        begins += [begin] * (len(here) - same)
        last = end
    close(0)
    return [tile for _, tile in sorted(found, key=lambda item: (item[1].begin, item[0]))]
