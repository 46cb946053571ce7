"""How near a layer comes to the speed of the memory that holds its weights.

python -m benchmarks.decode [--rows 1 128 1024] [--formats int8 ...] [--json]

One linear layer, 384 -> 1,536, on `microscopiq-64x64` as it is, with more buses, with rows handed
on one by one, and on `microscopiq-64x64-v2`. Outliers are in 9 % of the micro-blocks; but for the
last machine, ReCoN is cut into segments of 8 columns with 8 networks each then. Schedules are the
default ones, timing-only. `bound` is what no schedule beats: all bytes once over the bandwidth, or
a cycle for each row and plane. Goals are of the last machine. Of one row: 1.3 times the bound and
what a single plane takes, which fills all pipes once. Of more: `ms4` at most 1.15 times the cycles
of `int4`, and `ms2` at least 1.7 times fewer.
"""

import argparse
import dataclasses
import json
import math
import sys

from rich.console import Console
from rich.table import Table

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.estimate.timing import time_functions
from microscopiq.compiler.kinds.registry import emit_tile
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.tiling.legal import default_gemm_tile
from microscopiq.compiler.tiling.tile import array_limits
from microscopiq.compiler.tune.bound import bound_of
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.area import area, compute_um2
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.isa.program import Program

INPUTS, OUTPUTS, FLAGGED = 384, 1536, 0.09
FORMATS = ("int8", "int4", "ms4", "ms2")
MACHINES: dict[str, dict[str, int]] = {
    "as it is": {},
    "8 buses": {"weight_buses": 8},
    "8 buses, by row": {"weight_buses": 8, "row_release": 1, "queue_depth": 64},
}
BEST = "microscopiq-64x64-v2"
SEGMENTS = {"recon_units": 8, "recon_segment_columns": 8}
GOAL = 1.3
AT_MOST, FEWER = 1.15, 1.7
"""Cycles of `ms4` over those of `int4`, and of `int4` over those of `ms2`, of many rows."""


def machine(name: str, weight_format: str) -> Arch:
    """Return a machine of the table, with segments if it has none and the format has outliers."""
    if name == BEST:
        return load_arch(BEST)
    segments = SEGMENTS if WEIGHT_FORMATS[weight_format].has_outliers else {}
    return dataclasses.replace(load_arch("microscopiq-64x64"), **MACHINES[name], **segments)


def time_layer(op: Gemm, arch: Arch) -> tuple[dict, object]:
    """Return the record of a layer by its default schedule, and its weights."""
    segment = stand_in_segment(op, FLAGGED)
    function = emit_tile(op, default_gemm_tile(op, arch), arch, "layer", "layer", segment)
    return time_functions(Program.for_arch(arch, {"layer": function}))["layer"][0], segment


def measure(name: str, weight_format: str, rows: int) -> dict:
    """Return the cycles of the layer on a machine, beside what bounds them."""
    arch = machine(name, weight_format)
    op = Gemm(1, 1, rows, OUTPUTS, INPUTS, weight_format)
    record, segment = time_layer(op, arch)
    bound = bound_of(op, arch, segment, record)
    outputs, inputs = array_limits(op, arch)
    fill, _ = time_layer(Gemm(1, 1, rows, outputs, inputs, weight_format), arch)
    return {
        "format": weight_format,
        "rows": rows,
        "machine": name,
        "cycles": record["cycles"],
        "bound": round(bound.cycles),
        "allowed": round(GOAL * bound.cycles + fill["cycles"]),
        "instructions": record["instructions"],
        "waits": {cause: cycles for cause, cycles in record["units"]["array"].items() if cycles},
        "compute_um2": compute_um2(area(arch)),
    }


def table(rows: list[dict]) -> Table:
    """Return the rows as a table for a terminal."""
    out = Table(title=f"{INPUTS} -> {OUTPUTS} on microscopiq-64x64: cycles")
    for heading in ("format", "rows", "machine"):
        out.add_column(heading, justify="right" if heading == "rows" else "left")
    for heading in ("cycles", "bound", "ratio", "instructions", "compute mm2"):
        out.add_column(heading, justify="right")
    out.add_column("the array waits most for")
    for row in rows:
        waits = {cause: cycles for cause, cycles in row["waits"].items() if cause != "busy"}
        out.add_row(
            row["format"],
            str(row["rows"]),
            row["machine"],
            f"{row['cycles']:,}",
            f"{row['bound']:,}",
            f"{row['cycles'] / row['bound']:.2f}",
            f"{row['instructions']:,}",
            f"{row['compute_um2'] / 1e6:.4f}",
            max(waits, key=waits.__getitem__),
        )
    return out


def main() -> int:
    """Measure and print; exit with 1 when a row that has to reach the goal doesn't."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=(1, 128, 1024))
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [
        measure(name, weight_format, count)
        for weight_format in args.formats
        for count in args.rows
        for name in (*MACHINES, BEST)
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=120).print(table(rows))
    missed = [message for message in map(goal(rows), rows) if message]
    for message in missed:
        print(message)
    return 1 if missed else 0


def goal(rows: list[dict]):
    """Return a function that says what a row misses, if it has to reach anything."""
    cycles = {(row["format"], row["rows"]): row["cycles"] for row in rows if row["machine"] == BEST}

    def missed(row: dict) -> str:
        name, count = row["format"], row["rows"]
        allowed = {"ms4": AT_MOST, "ms2": 1 / FEWER}.get(name)
        most = math.inf
        if row["machine"] == BEST and count == 1:
            most = row["allowed"]
        elif row["machine"] == BEST and allowed and ("int4", count) in cycles:
            most = round(allowed * cycles["int4", count])
        if row["cycles"] <= most:
            return ""
        return f"{name}, {count} rows: {row['cycles']:,} cycles; allowed {most:,}"

    return missed


if __name__ == "__main__":
    sys.exit(main())
