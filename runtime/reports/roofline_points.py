"""The calls of a run as points of a roofline, and the layers that belong together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..results.causes import largest_stall
from ..results.result import RunResult


@dataclass(frozen=True)
class Point:
    """One call: where it lies and what held it up.

    Attributes
    ----------
    intensity : float
        Multiply-accumulates per off-chip byte.
    speed : float
        Multiply-accumulates per cycle.
    peak : int
        What the array could do per cycle in this weight format.
    stall : str
        Cause that took most of the array's cycles beside its work.
    """

    layer: str
    intensity: float
    speed: float
    peak: int
    weight_format: str
    stall: str
    cycles: int


def points(result: RunResult) -> list[Point]:
    """Return the calls that multiply, in order."""
    return [
        Point(
            layer=call["layer"] or call["name"],
            intensity=call["macs"] / max(1, sum(call["dram_bytes"].values())),
            speed=call["macs"] / call["cycles"],
            peak=call["peak_macs"],
            weight_format=call["weight_format"],
            stall=largest_stall(call["units"]["array"]),
            cycles=call["cycles"],
        )
        for call in result.calls
        if call["macs"] and call["cycles"]
    ]


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
