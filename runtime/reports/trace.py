"""The timeline of a run as trace events, the JSON that Perfetto opens.

One process is the machine. Its first track has a slice per call, in which the tiles nest by loop,
or a slice per part of a call, from where the parts before it ended until its last result is there;
each unit has a track with a slice per instruction, named by its mnemonic, and one per wait, named
by its cause. Idle cycles are gaps. Calls follow one another on one axis.

A viewer's smallest unit is a nanosecond. Times are rounded to it, and a machine above 1000 MHz is
shown at 1000 MHz, because slices of no length would nest. `cycles` and `begin` in the arguments
are exact.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from ...target.isa.program import Program
from ...target.isa.spec import Unit
from ..results.causes import BUSY, CAUSES
from ..whole_file import whole_text
from .trace_code import Listing, Step
from .trace_spans import UNITS, Tile, computing_unit, decode, tiles

PROCESS = 1
CALLS_TRACK = 2
"""The units' follow. Perfetto takes a track with the number of its process for a main thread."""
MOST_MHZ = 1000
"""The clock whose cycle is the smallest unit of a viewer."""
CHANNEL = "DRAM channel busy"
CHANNEL_POINTS = 2000
"""Values of the channel's counter over the whole run."""


def write_trace(
    path: str | Path, program: Program, calls: list[dict], traces: Sequence[bytes]
) -> None:
    """Write the timeline of a run; compressed if the name ends in .gz.

    Parameters
    ----------
    program : Program
        What ran.
    calls : list of dict
        A record per call or part of one, as `RunResult.calls` has them.
    traces : sequence of bytes
        The spans of each call, as `decode` takes them; decoded one after the other.

    Raises
    ------
    ConfigError
        When the file can't be written.
    """
    with whole_text(path) as file:
        clock = program.arch_numbers["clock_mhz"]
        shown = min(clock, MOST_MHZ)
        about = {
            "arch": program.arch_name,
            "arch_hash": program.arch_hash,
            "clock_mhz": clock,
            "shown_mhz": shown,
        }
        file.write(f'{{"displayTimeUnit":"ns","otherData":{json.dumps(about)},"traceEvents":[\n')
        file.write(",\n".join(_tracks(program)))
        writer = _Writer(file, shown)
        window = max(1, sum(call["cycles"] for call in calls) // CHANNEL_POINTS)
        listings: dict[str, Listing] = {}
        rest = iter(calls)
        for raw in traces:
            first = next(rest)
            function = program.functions[first["function"]]
            parts = [first, *islice(rest, max(0, len(function.parts) - 1))]
            listing = listings.setdefault(function.name, Listing(function))
            spans = decode(raw)
            cycles = 0
            for part in parts:
                writer.call(part, cycles)
                cycles += part["cycles"]
            if not function.parts:  # those of several would overlap
                writer.tiles(tiles(spans, listing, computing_unit(spans)))
            writer.spans(spans, listing)
            if program.arch_numbers["dram_bandwidth_bytes_per_cycle"]:
                writer.channel(spans, cycles, window)
            writer.base += cycles
        file.write("\n]}\n")


def _tracks(program: Program) -> Iterator[str]:
    """Yield the events that name the process and its tracks, in the order of the page."""
    yield _metadata("process_name", PROCESS, name=f"machine {program.arch_name}")
    for track, name in [(CALLS_TRACK, "layers"), *((_track(u), u.name.lower()) for u in UNITS)]:
        yield _metadata("thread_name", track, name=name)
        yield _metadata("thread_sort_index", track, sort_index=track)


def _track(unit: int) -> int:
    return CALLS_TRACK + unit


def _metadata(kind: str, track: int, **arguments: str | int) -> str:
    return json.dumps(
        {"ph": "M", "pid": PROCESS, "tid": track, "name": kind, "args": arguments},
        separators=(",", ":"),
    )


class _Writer:
    """Writes events; `base` is the cycle at which the current call starts."""

    def __init__(self, file: TextIO, clock_mhz: int):
        self.file, self.clock_mhz, self.base = file, clock_mhz, 0
        self.texts: dict[tuple, tuple[str, str]] = {}

    def nanoseconds(self, cycle: int) -> int:
        return (2000 * (self.base + cycle) + self.clock_mhz) // (2 * self.clock_mhz)

    def slice(self, track: int, begin: int, end: int, head: str, arguments: str) -> None:
        """Write a slice; `head` are its fields and `arguments` those of args, as JSON text."""
        # From both ends' roundings: two slices never overlap.
        start = self.nanoseconds(begin)
        length = self.nanoseconds(end) - start
        self.file.write(
            f',\n{{"ph":"X","pid":{PROCESS},"tid":{track},"ts":{_microseconds(start)},'
            f'"dur":{_microseconds(length)},{head},"args":{{"cycles":{end - begin},'
            f'"begin":{self.base + begin}{arguments}}}}}'
        )

    def call(self, call: dict, begin: int) -> None:
        possible = call["cycles"] * call["peak_macs"]
        facts = {
            "function": call["name"],
            "weight_format": call["weight_format"],
            "macs": call["macs"],
            "utilisation": round(call["macs"] / possible, 6) if possible else 0,
            "dram_read_bytes": call["dram_bytes"]["read"],
            "dram_written_bytes": call["dram_bytes"]["written"],
        }
        head = f'"name":{json.dumps(call["layer"] or call["name"])},"cat":"layer"'
        self.slice(CALLS_TRACK, begin, begin + call["cycles"], head, _fields(facts))

    def tiles(self, found: list[Tile]) -> None:
        for tile in found:
            name = json.dumps(f"{tile.name} #{tile.counter}")
            facts = {"loop": tile.loop, "of": tile.count}
            head = f'"name":{name},"cat":"tile"'
            self.slice(CALLS_TRACK, tile.begin, tile.end, head, _fields(facts))

    def spans(self, spans: np.ndarray, listing: Listing) -> None:
        """Write the slices of all units; a slice's constant part is made once per instruction."""
        causes = list(CAUSES.values())
        for begin, end, unit, cause, pc, depth, counters in spans.tolist():
            key = (listing, cause, pc)
            if key not in self.texts:
                self.texts[key] = _span_text(causes[cause].key, listing.steps.get(pc))
            head, arguments = self.texts[key]
            if depth:
                where = listing.where(pc, counters)
                arguments += f',"tile":{json.dumps(where)}'
            self.slice(_track(unit), begin, end, head, arguments)

    def channel(self, spans: np.ndarray, cycles: int, window: int) -> None:
        """Write how busy the DRAM channel was, averaged over windows of cycles."""
        busy = spans[(spans["cause"] == 0) & np.isin(spans["unit"], (Unit.DMA_IN, Unit.DMA_OUT))]
        edges = np.unique(np.append(np.arange(0, cycles, window), cycles))
        # Transfers hold the channel one at a time, so that the cycles until each are a line.
        ends = np.cumsum(busy["end"] - busy["begin"])
        points = np.stack([busy["begin"], busy["end"]], 1).reshape(-1)
        levels = np.stack([ends - (busy["end"] - busy["begin"]), ends], 1).reshape(-1)
        until = np.interp(edges, points, levels) if len(busy) else np.zeros(len(edges))
        for begin, share in zip(edges, 100 * np.diff(until) / np.diff(edges), strict=False):
            self.file.write(
                f',\n{{"ph":"C","pid":{PROCESS},"name":"{CHANNEL}",'
                f'"ts":{_microseconds(self.nanoseconds(int(begin)))},"args":{{"%":{share:.1f}}}}}'
            )


def _microseconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 1000}.{nanoseconds % 1000:03d}"


def _fields(facts: dict[str, object]) -> str:
    """Return JSON fields that follow others."""
    return "".join(f",{json.dumps(key)}:{json.dumps(value)}" for key, value in facts.items())


def _span_text(cause: str, step: Step | None) -> tuple[str, str]:
    """Return what all slices of one instruction and cause have in common."""
    about = CAUSES[cause]
    name = (step.mnemonic if step else "?") if cause == BUSY else about.slice
    head = f'"name":{json.dumps(name)},"cat":"{cause}"'
    if about.trace_color:
        head += f',"cname":"{about.trace_color}"'
    if step is None:
        return head, ""
    facts: dict[str, object] = {"pc": f"{step.pc:05x}", "instruction": step.mnemonic}
    if step.note:
        facts["note"] = step.note
    return head, _fields(facts)
