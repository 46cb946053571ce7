"""Layer by layer: the default schedule and the tuned one against what no schedule can beat.

python -m benchmarks.schedules [--set NAME] [--format NAME] [--arch NAME] [--trials N] [--json]

Sets: `gemms` (the weight-stationary rows of `peers/scalesim.csv` of the array's size), `minilm`
(all-MiniLM-L6-v2's layers at 128 tokens) and `resnet20` (its convolutions on 32x32 images).
*Bound* is `max(compute, DMA)`: a cycle for each row and weight plane; each byte of the operands and
of the result once over the bandwidth. *Least* adds the other resources and the latency that
nothing overlaps (`compiler/tune/bound.py`); where it keeps a layer from 95 % of the bound, *stops*
names it. Weights are stand-ins with a real encoder's share of outliers.
"""

import argparse
import csv
import json
import sys
import tempfile

from rich.console import Console
from rich.table import Table

import microscopiq  # noqa: F401  (loads the C++ core)
from benchmarks.scalesim import PEER, operator
from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import Conv, Gemm
from microscopiq.compiler.tune.task import Task, make_task
from microscopiq.compiler.tune.tuner import Settings, tune_tasks
from microscopiq.compiler.tuned.database import open_database
from microscopiq.target.arch import Arch, load_arch

DEFAULT_GOAL, TUNED_GOAL = 0.80, 0.95
RESNET20 = [
    ("conv1", 3, 32, 16, 1), ("stage1", 16, 32, 16, 1), ("stage2.0", 16, 32, 32, 2),
    ("stage2", 32, 16, 32, 1), ("stage3.0", 32, 16, 64, 2), ("stage3", 64, 8, 64, 1),
]  # fmt: skip


def gemms(weight_format: str, arch: Arch) -> list[tuple[str, Gemm]]:
    """Return SCALE-Sim's rows of this array's size."""
    with PEER.open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["array"]) == arch.array_rows]
    return [(row["name"], operator(row, weight_format)) for row in rows]


def minilm(weight_format: str, _arch: Arch) -> list[tuple[str, Gemm]]:
    """Return the products of one encoder layer: hidden 384, 12 heads, 128 tokens."""
    layers = [
        ("query, key, value", Gemm(1, 1, 128, 384, 384, weight_format, bias=True)),
        ("scores", Gemm(12, 1, 128, 128, 32, "")),
        ("context", Gemm(12, 1, 128, 32, 128, "")),
        ("output", Gemm(1, 1, 128, 384, 384, weight_format, bias=True, residual=True)),
        ("intermediate", Gemm(1, 1, 128, 1536, 384, weight_format, bias=True)),
        ("down", Gemm(1, 1, 128, 384, 1536, weight_format, bias=True, residual=True)),
    ]
    return [layer for layer in layers if layer[1].weight_format or "int8" in _arch.weight_formats]


def resnet20(weight_format: str, _arch: Arch) -> list[tuple[str, Gemm]]:
    """Return ResNet-20's distinct convolutions."""
    layers = []
    for name, channels, size, n, stride in RESNET20:
        conv = Conv(channels, size, size, 3, 3, stride, stride, 1, 1, 1, 1, 1, 1)
        m = conv.out_height * conv.out_width
        op = Gemm(1, 1, m, n, 9 * channels, weight_format, conv, bias=True, low=0.0)
        layers.append((name, op))
    return layers


SETS = {"gemms": gemms, "minilm": minilm, "resnet20": resnet20}


def compare(name: str, layers: list[tuple[str, Gemm]], arch: Arch, trials: int) -> list[dict]:
    """Return a row per layer; with trials, tuned ones."""
    tasks = [make_task(op, arch, stand_in_segment(op), layer) for layer, op in layers]
    if trials:
        with tempfile.TemporaryDirectory() as folder:
            database = open_database(folder, arch, create=True)
            tune_tasks(tasks, arch, database, trials * len(tasks), Settings())
    return [row(name, task, bool(trials)) for task in tasks]


def row(name: str, task: Task, tuned: bool) -> dict:
    """Return a layer's figures."""
    bound = task.bound
    return {
        "set": name,
        "layer": task.layer,
        "size": f"{task.op.m}x{task.op.n}x{task.op.k}",
        "batch": task.op.batch * task.op.conv_groups,
        "compute": bound.compute,
        "dma": bound.dma,
        "recon": bound.recon,
        "weight_load": bound.weight_load,
        "bound": bound.cycles,
        "least": bound.floor,
        "default": task.default,
        "tuned": task.best if tuned else None,
        "default_share": bound.cycles / task.default,
        "tuned_share": bound.cycles / task.best if tuned else None,
        "tuned_of_least": bound.floor / task.best,
        "stops": bound.stopper(TUNED_GOAL),
    }


def missed(item: dict) -> bool:
    """Tell whether a layer misses a goal that nothing but its schedule keeps it from."""
    reachable = item["bound"] / item["least"]
    short = item["default_share"] < DEFAULT_GOAL * min(1, reachable / TUNED_GOAL)
    if item["tuned"] is not None:
        short |= item["tuned"] > item["default"]
    return short


def print_table(rows: list[dict], arch: Arch, weight_format: str) -> None:
    """Print a row per layer."""
    console = Console(width=150, highlight=False)
    table = Table(title=f"{arch.name}, {weight_format}: cycles against max(compute, DMA)")
    for heading in ("set", "layer", "M x N x K"):
        table.add_column(heading, no_wrap=True)
    for heading in ("compute", "DMA", "ReCoN", "w load", "default", "%", "tuned", "% ",
                    "% of least"):  # fmt: skip
        table.add_column(heading, justify="right")
    table.add_column("stops")
    for item in rows:
        times = f"{item['batch']} x " if item["batch"] > 1 else ""
        numbers = [f"{item[key]:,.0f}" for key in ("compute", "dma", "recon", "weight_load")]
        tuned = ["", ""]
        if item["tuned"] is not None:
            tuned = [f"{item['tuned']:,}", f"{100 * item['tuned_share']:.1f}"]
        table.add_row(item["set"], item["layer"], times + item["size"], *numbers,
                      f"{item['default']:,}", f"{100 * item['default_share']:.1f}", *tuned,
                      f"{100 * item['tuned_of_least']:.1f}", item["stops"])  # fmt: skip
    console.print(table)
    free = [item for item in rows if not item["stops"]]
    good = sum(item["default_share"] >= DEFAULT_GOAL for item in free)
    console.print(f"layers that nothing stops: {len(free)}; default at 80 %: {good}", end="")
    if rows and rows[0]["tuned"] is not None:
        best = sum(item["tuned_share"] >= TUNED_GOAL for item in free)
        console.print(f"; tuned at 95 %: {best}")
    else:
        console.print()


def main() -> int:
    """List the layers; exit with 1 when one is short of what its schedule could reach."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=SETS, action="append")
    parser.add_argument("--format", default="ms4", help="weight format")
    parser.add_argument("--arch", default="microscopiq-64x64")
    parser.add_argument("--trials", type=int, default=0, help="candidates per layer")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    arch = load_arch(args.arch)
    rows = []
    for name in args.set or SETS:
        rows += compare(name, SETS[name](args.format, arch), arch, args.trials)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(rows, arch, args.format)
    return int(any(missed(item) for item in rows))


if __name__ == "__main__":
    sys.exit(main())
