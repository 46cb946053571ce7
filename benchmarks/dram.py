"""Cycles of DMA transfers against DRAMsim3: HBM2 with two mappings of its channels, and DDR4.

python -m benchmarks.dram [--json] [--markdown FILE] [--rows]

Each pattern of `peers/dram.csv` (DRAMsim3 of commit 29817593, in-order requests, 64 or 256 bursts
under way, or any number) is a program of transfers, timed on a machine with that memory. The keys
are the configurations' own figures (`HBM2_8Gb_x128`, `DDR4_8Gb_x8_3200`); a refresh costs what it
takes and what opening and closing rows around it does, fitted to a read of 4 MB. It exits with 1
beyond the bounds.
"""

import argparse
import csv
import dataclasses
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import microscopiq  # noqa: F401  (loads the C++ core)
from microscopiq.compiler.estimate.timing import time_functions
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.isa.instructions import Clip, DmaLoad, DmaStore, End
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Affine, Mem

PEER = Path(__file__).parent / "peers" / "dram.csv"
KB, MB = 1 << 10, 1 << 20
HBM2 = {
    "dram_bandwidth_bytes_per_cycle": 256,
    "dram_channels": 8,
    "dram_interleave_bytes": 2 * KB,
    "dram_banks": 16,
    "dram_row_bytes": 2 * KB,
    "dram_burst_bytes": 64,
    "dram_burst_cycles": 2,
    "dram_read_cycles": 29,
    "dram_write_cycles": 19,
    "dram_row_cycles": 48,
    "dram_four_rows_cycles": 30,
    "dram_turnaround_cycles": 28,
    "dram_refresh_interval_cycles": 3900,
    "dram_refresh_cycles": 310,
    "dram_queue": 48,
}
DDR4 = {
    "dram_bandwidth_bytes_per_cycle": 16,
    "dram_channels": 1,
    "dram_interleave_bytes": 8 * KB,
    "dram_banks": 32,
    "dram_row_bytes": 8 * KB,
    "dram_burst_bytes": 64,
    "dram_burst_cycles": 4,
    "dram_bank_groups": 4,
    "dram_group_burst_cycles": 8,
    "dram_read_cycles": 45,
    "dram_write_cycles": 39,
    "dram_row_cycles": 74,
    "dram_four_rows_cycles": 17,  # 34 in each of two ranks
    "dram_turnaround_cycles": 28,
    "dram_refresh_interval_cycles": 12480,
    "dram_refresh_cycles": 620,
    "dram_queue": 48,
}
MEMORIES = {"hbm2": HBM2, "hbm2_ch256": HBM2 | {"dram_interleave_bytes": 256}, "ddr4": DDR4}
"""Keys by configuration; `hbm2_ch256` goes to the next channel every 256 bytes."""
BOUNDS = {("hbm2_ch256", "inf"): 10.0, ("hbm2_ch256", "256"): 20.0}
"""Largest error of a row in %."""
MEDIANS = {("hbm2", "inf"): 5.0, ("hbm2", "256"): 5.0}
SECOND = 64 * MB
"""Where the second stream of a pattern starts."""


@dataclass(frozen=True)
class Move:
    """Rows of elements, read or written."""

    address: int
    rows: int = 1
    pitch: int = 0
    cols: int = 1
    step: int = 1
    write: bool = False


def moves(pattern: str, kind: str) -> Iterator[Move]:
    """Yield the transfers of a pattern, by its name."""
    what, _, rest = pattern.partition("_")
    if what == "contig":
        yield Move(0, cols=_bytes(rest), write=kind == "write")
    elif what.startswith("rows512x"):
        yield Move(0, 512, 4096, _bytes(what.removeprefix("rows512x")))
    elif what == "col":
        yield Move(0, 4096, int(rest.split("stride")[1].split("_")[0]), 4)
    elif what == "random":
        places = np.random.default_rng(0).integers(0, 256 * MB // 64, 4096)
        yield from (Move(64 * int(place), cols=64) for place in places)
    elif what == "two":
        offsets = {"samebank": 0, "offset64KB": 64 * KB, "offset72KB": 72 * KB}
        second = SECOND + offsets[pattern.rpartition("_")[2]]
        for at in range(0, MB, 2 * KB):
            yield Move(at, cols=2 * KB)
            if at < 256 * KB:
                yield Move(second + at, cols=2 * KB)
    else:
        size = _bytes(pattern.rpartition("alt")[2])
        for at in range(0, MB, size):
            yield Move(at, cols=size)
            yield Move(SECOND + at // 2, cols=size // 2, write=True)


def _bytes(text: str) -> int:
    units = {"KB": KB, "MB": MB}
    scale = units.get(text[-2:])
    return int(text[:-2]) * scale if scale else int(text.removesuffix("B"))


def program_of(moves: Iterable[Move], arch: Arch) -> Program:
    """Return a program whose one function makes transfers, one after the other."""
    code: list = []
    for move in moves:
        code += [Clip(0, move.rows, move.rows, Affine()), Clip(1, move.cols, move.cols, Affine())]
        at, chip = Affine(move.address), dict(rows=0, cols=1, element=1)
        if move.write:
            code.append(
                DmaStore(0, at, move.pitch, move.step, Mem.SPAD, Affine(), move.cols, **chip)
            )
        else:
            code.append(
                DmaLoad(Mem.SPAD, Affine(), move.cols, 0, at, move.pitch, move.step, **chip)
            )
    memory = Argument("memory", "int8", (256 * MB,), True)
    return Program.for_arch(arch, {"f": Function("f", "moves", (memory,), (*code, End()))})


def machine(config: str, window: str) -> Arch:
    """Return a machine that nothing but its memory slows down."""
    keys = MEMORIES[config] | {"dram_window": 0 if window == "inf" else int(window)}
    free = {"dram_latency_cycles": 0, "sequencer_cycles": 0, "queue_depth": 1 << 16}
    return dataclasses.replace(load_arch("microscopiq-64x64"), spad_bytes=8 * MB, **free, **keys)


def compare() -> list[dict]:
    """Return each row of the table with our cycles and their error in %."""
    rows = []
    for row in csv.DictReader(PEER.open(encoding="utf-8")):
        arch = machine(row["config"], row["window"])
        made = program_of(moves(row["pattern"], row["kind"]), arch)
        cycles, wanted = time_functions(made)["f"][0]["cycles"], int(row["cycles"])
        names = ("config", "pattern", "kind", "window")
        found = {"dramsim3": wanted, "cycles": cycles, "error": 100 * (cycles / wanted - 1)}
        rows.append({name: row[name] for name in names} | found)
    return rows


def table(rows: list[dict]) -> str:
    """Return the errors by memory and window, as the docs have them."""
    lines = ["| memory | bursts under way | median error | worst | in |", "|---|---|---:|---:|---|"]
    for key in dict.fromkeys((row["config"], row["window"]) for row in rows):
        here = [row for row in rows if (row["config"], row["window"]) == key]
        median = statistics.median(abs(row["error"]) for row in here)
        worst = max(here, key=lambda row: abs(row["error"]))
        name, window = key[0], "any" if key[1] == "inf" else key[1]
        lines.append(
            f"| {name} | {window} | {median:.1f} % | {worst['error']:+.1f} % | "
            f"`{worst['pattern']}`, {worst['kind']} |"
        )
    return "\n".join(lines) + "\n"


def misses(rows: list[dict]) -> list[str]:
    """Return what lies beyond the bounds."""
    found = []
    for row in rows:
        bound = BOUNDS.get((row["config"], row["window"]))
        if bound is not None and abs(row["error"]) > bound:
            found.append(
                f"{row['config']}, {row['window']}: {row['pattern']} {row['error']:+.1f} %"
            )
    for key, bound in MEDIANS.items():
        errors = [abs(row["error"]) for row in rows if (row["config"], row["window"]) == key]
        if statistics.median(errors) > bound:
            found.append(f"{', '.join(key)}: a median of {statistics.median(errors):.1f} %")
    return found


def main() -> int:
    """Compare, print, and say whether the bounds hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", action="store_true", help="each row of the table too")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    rows = compare()
    if options.json:
        print(json.dumps(rows))
    else:
        for row in rows if options.rows else []:
            print(*row.values())
        print(table(rows), end="")
    if options.markdown:
        options.markdown.write_text(table(rows), encoding="utf-8")
    found = misses(rows)
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
