"""What ways to multiply outliers cost: ReCoN, or rows of their own (`replay`).

python -m benchmarks.outliers [--rows 1 128 1024] [--formats ms4 ms2] [--flagged 0.038] [--json]

One linear layer, 384 -> 1,536, on `microscopiq-64x64` with 8 weight buses that release row by row.
Schedules are the default ones, timing-only; beside them is `int4` on the same machine. `array mm2`
is the array's area and ReCoN's.
"""

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.estimate.timing import time_functions
from microscopiq.compiler.kinds.registry import emit_tile
from microscopiq.compiler.operators import FLAGGED_SHARE, Gemm
from microscopiq.compiler.tiling.legal import default_gemm_tile
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.area import area
from microscopiq.target.isa.program import Program

INPUTS, OUTPUTS = 384, 1536
FORMATS = ("ms4", "ms2")
FAST = {"weight_buses": 8, "row_release": 1, "queue_depth": 64}
WAYS: dict[str, dict[str, int]] = {
    "ReCoN, one network": {},
    "ReCoN, 8 networks for each 8 columns": {"recon_units": 8, "recon_segment_columns": 8},
    "replay, one list": {"recon_units": 0, "replay_columns": 1024},
    "replay, lists of 64 columns": {"recon_units": 0, "replay_columns": 64},
    "replay, lists of 16 columns": {"recon_units": 0, "replay_columns": 16},
}


def machine(way: str) -> Arch:
    """Return the machine of a way."""
    return dataclasses.replace(load_arch("microscopiq-64x64"), **FAST, **WAYS[way])


def cycles(op: Gemm, arch: Arch, flagged: float) -> int:
    """Return the cycles of a layer by its default schedule."""
    segment = stand_in_segment(op, flagged)
    function = emit_tile(op, default_gemm_tile(op, arch), arch, "layer", "layer", segment)
    return time_functions(Program.for_arch(arch, {"layer": function}))["layer"][0]["cycles"]


def measure(weight_format: str, rows: int, flagged: float) -> list[dict]:
    """Return the cycles of each way, and those of `int4`."""
    op = Gemm(1, 1, rows, OUTPUTS, INPUTS, weight_format)
    int4 = cycles(dataclasses.replace(op, weight_format="int4"), machine("replay, one list"), 0)
    return [
        {
            "format": weight_format,
            "rows": rows,
            "way": way,
            "cycles": cycles(op, machine(way), flagged),
            "int4": int4,
            "um2": sum(p.um2 for p in area(machine(way)) if p.component in ("array", "recon")),
        }
        for way in WAYS
    ]


def table(rows: list[dict], flagged: float) -> Table:
    """Return the rows as a table for a terminal."""
    out = Table(title=f"{INPUTS} -> {OUTPUTS}, outliers in {100 * flagged:g} % of micro-blocks")
    for heading in ("format", "rows", "way", "cycles", "of int4", "array mm2"):
        out.add_column(heading, justify="left" if heading in ("format", "way") else "right")
    for row in rows:
        out.add_row(
            row["format"],
            str(row["rows"]),
            row["way"],
            f"{row['cycles']:,}",
            f"{row['cycles'] / row['int4']:.2f}",
            f"{row['um2'] / 1e6:.4f}",
        )
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=(1, 128, 1024))
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--flagged", type=float, default=FLAGGED_SHARE)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [
        row
        for weight_format in args.formats
        for count in args.rows
        for row in measure(weight_format, count, args.flagged)
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=100).print(table(rows, args.flagged))


if __name__ == "__main__":
    main()
