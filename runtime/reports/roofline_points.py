"""The calls of a run as points of a roofline, and the layers that belong together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..results.causes import largest_stall
from ..results.result import RunResult

VECTOR = "vector unit"
"""In the place of a weight format, for calls that multiply nothing on the array."""


@dataclass(frozen=True)
class Point:
    """One call: where it lies and what held it up.

    Attributes
    ----------
    intensity : float
        Operations per off-chip byte: multiply-accumulates, or elements through the vector unit.
    speed : float
        Operations per cycle, of as many cycles as the units that it keeps busy need at least.
    peak : int
        What the array could do per cycle in this weight format, or the unit's lanes; 0: unlimited.
    stall : str
        Cause that took most of the unit's cycles beside its work.
    """

    layer: str
    intensity: float
    speed: float
    peak: int
    weight_format: str
    stall: str
    cycles: int


def points(result: RunResult, lanes: int) -> list[Point]:
    """Return the calls that compute, in order.

    Parameters
    ----------
    lanes : int
        Of the vector unit.
    """
    return [_point(call, lanes) for call in result.calls if (call["macs"] or call["vector_ops"])]


def _point(call: dict, lanes: int) -> Point:
    unit = "array" if call["macs"] else "vector"
    work = call["macs"] or call["vector_ops"]
    busy = {name: parts["busy"] for name, parts in call["units"].items()}
    # A part of a function may end with the one before it, which it worked beside.
    channel = busy["dma_in"] + busy["dma_out"]
    cycles = max(call["cycles"], channel, *busy.values(), 1)
    return Point(
        layer=call["layer"] or call["name"],
        intensity=work / max(1, sum(call["dram_bytes"].values())),
        speed=work / cycles,
        peak=call["peak_macs"] if call["macs"] else lanes,
        weight_format=call["weight_format"] if call["macs"] else VECTOR,
        stall=largest_stall(call["units"][unit]),
        cycles=call["cycles"],
    )


def groups(found: Sequence[Point]) -> dict[str, list[Point]]:
    """Return points by name without numbers, the blocks of a model; most cycles first."""
    by_name: dict[str, list[Point]] = {}
    for point in found:
        by_name.setdefault(re.sub(r"\d+", "*", point.layer), []).append(point)
    order = sorted(by_name, key=lambda name: -sum(point.cycles for point in by_name[name]))
    return {name: by_name[name] for name in order}


def short_name(name: str) -> str:
    """Return what a name says inside its numbered block, whose own name they all share."""
    outer, _, inner = name.rpartition(".*.")
    return inner if outer and re.search("[a-z]", inner, re.IGNORECASE) else name
