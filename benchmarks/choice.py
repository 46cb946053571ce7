"""Which way to multiply outliers is chosen, and what the other one and tuning would take.

python -m benchmarks.choice [--rows 1 16 128 1024] [--formats ms4 ms2] [--flagged 0.04 0.09 0.27]
    [--trials 24] [--markdown]

One linear layer, 384 -> 1,536, on `microscopiq-64x64` with 8 weight buses that release row by row,
8 ReCoN networks for each 8 columns and replay with lists of 64 columns: neither way is always the
faster one there. Schedules are default ones, each way's by itself and the one that is chosen;
With `--trials`, `tuned` is the best of so many, the default one among them. Exits with 1 where the
choice takes more than the better way, or what is tuned more than the choice.
"""

import argparse
import dataclasses
import sys
import tempfile

from rich.console import Console
from rich.table import Table

from benchmarks.outliers import FORMATS, INPUTS, OUTPUTS, cycles
from benchmarks.outliers import machine as machine_of
from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import OUTLIER_WAYS, RECON, REPLAY, Gemm
from microscopiq.compiler.tiling.legal import default_gemm_tile
from microscopiq.compiler.tune.task import make_task
from microscopiq.compiler.tune.tuner import Settings, tune_tasks
from microscopiq.compiler.tuned.database import open_database
from microscopiq.target.arch import Arch

HEADINGS = ("format", "rows", "flagged", "ReCoN", "replay", "chosen", "of the better", "tuned",
            "tuned way")  # fmt: skip


def both() -> Arch:
    """Return the machine that has both ways."""
    return dataclasses.replace(machine_of("ReCoN, 8 networks for each 8 columns"),
                               replay_columns=64)  # fmt: skip


def tuned(op: Gemm, arch: Arch, flagged: float, trials: int) -> tuple[int, str]:
    """Return the cycles of the best of so many schedules, and its way."""
    task = make_task(op, arch, stand_in_segment(op, flagged), "layer")
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(folder, arch, create=True)
        tune_tasks([task], arch, database, trials, Settings(workers=0))
    assert task.tile is not None
    return task.best, task.tile.outliers


def measure(op: Gemm, arch: Arch, trials: int) -> dict:
    """Return the cycles of each way, of the one that is chosen, and of what is tuned."""
    assert op.flagged is not None
    ways = {w: cycles(dataclasses.replace(op, way=w), arch, op.flagged) for w in OUTLIER_WAYS}
    taken = cycles(op, arch, op.flagged)
    best, way = tuned(op, arch, op.flagged, trials) if trials else (taken, "")
    return {
        "op": op,
        "ways": ways,
        "chosen": default_gemm_tile(op, arch).outliers,
        "cycles": taken,
        "tuned": best,
        "tuned_way": way,
    }


def cells(row: dict) -> tuple[str, ...]:
    """Return a row's cells."""
    op, ways = row["op"], row["ways"]
    return (
        op.weight_format,
        f"{op.m:,}",
        f"{100 * op.flagged:g} %",
        f"{ways[RECON]:,}",
        f"{ways[REPLAY]:,}",
        row["chosen"],
        f"{row['cycles'] / min(ways.values()):.3f}",
        *((f"{row['tuned']:,}", row["tuned_way"]) if row["tuned_way"] else ()),
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=(1, 16, 128, 1024))
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--flagged", nargs="+", type=float, default=(0.04, 0.09, 0.27))
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    arch, headings = both(), HEADINGS if args.trials else HEADINGS[:-2]
    rows = [
        measure(Gemm(1, 1, m, OUTPUTS, INPUTS, name, flagged=share), arch, args.trials)
        for name in args.formats
        for m in args.rows
        for share in args.flagged
    ]
    if args.markdown:
        print("| " + " | ".join(headings) + " |\n|" + "---|" * len(headings))
        for row in rows:
            print("| " + " | ".join(cells(row)) + " |")
    else:
        table = Table(*headings, title=f"{INPUTS} -> {OUTPUTS}, both ways")
        for row in rows:
            table.add_row(*cells(row))
        Console(width=100).print(table)
    behind = [r for r in rows if r["cycles"] > min(r["ways"].values()) or r["tuned"] > r["cycles"]]
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
