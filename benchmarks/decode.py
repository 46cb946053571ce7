"""How near a layer comes to the speed of the memory that holds its weights.

python -m benchmarks.decode [--rows 1 128 1024] [--formats int8 ...] [--json]

One linear layer, 384 -> 1,536, on `microscopiq-64x64` as it is and with more ways to load weights;
where the format has outliers, in 9 % of the micro-blocks, ReCoN is cut into segments of 8 columns
with 8 networks each. Schedules are the default ones, timing-only. `bound` is what no schedule
beats: all bytes once over the bandwidth, or a cycle for each row and plane. `allowed` is 1.3 times
that, and what fills the pipes once: two transfers' latency, a load, the array's depth and width.
"""

import argparse
import dataclasses
import json
import sys

from rich.console import Console
from rich.table import Table

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.estimate.timing import time_functions
from microscopiq.compiler.kinds.registry import emit_tile
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.tiling.legal import default_gemm_tile
from microscopiq.compiler.tune.bound import bound_of
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.area import area
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.isa.program import Program

INPUTS, OUTPUTS, FLAGGED = 384, 1536, 0.09
FORMATS = ("int8", "int4", "ms4", "ms2")
MACHINES: dict[str, dict[str, int]] = {
    "as it is": {},
    "8 buses": {"weight_buses": 8},
    "8 buses, by row": {"weight_buses": 8, "row_release": 1, "queue_depth": 64},
    "the same, 4 planes": {
        "weight_buses": 8,
        "row_release": 1,
        "queue_depth": 64,
        "weight_planes": 4,
    },
}
SEGMENTS = {"recon_units": 8, "recon_segment_columns": 8}
GOAL = 1.3
REACHES = ("8 buses, by row", ("int8", "int4"))
"""The machine and the formats whose single row has to be within the goal."""


def machine(keys: dict[str, int], weight_format: str) -> Arch:
    """Return the default machine with some keys, and segments if the format has outliers."""
    segments = SEGMENTS if WEIGHT_FORMATS[weight_format].has_outliers else {}
    return dataclasses.replace(load_arch("microscopiq-64x64"), **keys, **segments)


def measure(name: str, weight_format: str, rows: int) -> dict:
    """Return the cycles of the layer on a machine, beside what bounds them."""
    arch = machine(MACHINES[name], weight_format)
    op = Gemm(1, 1, rows, OUTPUTS, INPUTS, weight_format)
    segment = stand_in_segment(op, FLAGGED)
    function = emit_tile(op, default_gemm_tile(op, arch), arch, "layer", "layer", segment)
    record = time_functions(Program.for_arch(arch, {"layer": function}))["layer"][0]
    bound = bound_of(op, arch, segment, record)
    return {
        "format": weight_format,
        "rows": rows,
        "machine": name,
        "cycles": record["cycles"],
        "bound": round(bound.cycles),
        "allowed": round(GOAL * bound.cycles + bound.latency),
        "instructions": record["instructions"],
        "waits": {cause: cycles for cause, cycles in record["units"]["array"].items() if cycles},
        "array_um2": sum(part.um2 for part in area(arch) if part.component == "array"),
    }


def table(rows: list[dict]) -> Table:
    """Return the rows as a table for a terminal."""
    out = Table(title=f"{INPUTS} -> {OUTPUTS} on microscopiq-64x64: cycles")
    for heading in ("format", "rows", "machine"):
        out.add_column(heading, justify="right" if heading == "rows" else "left")
    for heading in ("cycles", "bound", "ratio", "instructions", "array mm2"):
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
            f"{row['array_um2'] / 1e6:.4f}",
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
        for name in MACHINES
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=120).print(table(rows))
    missed = [
        row
        for row in rows
        if row["rows"] == 1
        and row["machine"] == REACHES[0]
        and row["format"] in REACHES[1]
        and row["cycles"] > row["allowed"]
    ]
    for row in missed:
        print(f"{row['format']}: {row['cycles']:,} cycles; allowed {row['allowed']:,}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
