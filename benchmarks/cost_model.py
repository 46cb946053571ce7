"""The estimate of tiles against the simulator: layers of real shapes, machines, weight formats.

python -m benchmarks.cost_model [--every N] [--tiles N] [--arch NAME] [--markdown | --json]

Layers are those of `benchmarks.schedules`, SCALE-Sim's at its 64x64 sizes. Of each, the default
tile is measured and some legal ones by chance. The estimate knows of the weights only which share
of micro-blocks holds outliers; where a layer has few panels, cycles are the mean over several draws
of stand-in weights, because those of a single draw are chance.
"""

import argparse
import json
import random
import statistics
import sys

from rich.console import Console
from rich.progress import track

import microscopiq  # noqa: F401  (loads the C++ core)
from benchmarks.schedules import gemms, minilm, resnet20
from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.tiling.legal import default_gemm_tile, legal_tiles
from microscopiq.compiler.tiling.walk import walk
from microscopiq.compiler.tune.measure import call_record
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.formats import WEIGHT_FORMATS

MACHINES = ("microscopiq-64x64", "microscopiq-16x16", "microscopiq-128x128", "int8-64x64",
            "int4-64x64", "fineq-64x64")  # fmt: skip
MEDIAN, WORST = 0.05, 0.20
PANELS, DRAWS = 64, 16
"""Panels over which weights are averaged, and draws at most."""


def points(machines: tuple[str, ...], every: int) -> list[tuple[Arch, str, str, Gemm]]:
    """Return machines, formats and layers: of each pair every n-th layer, another one each time."""
    found, start = [], 0
    sizes = load_arch("microscopiq-64x64")
    for machine in machines:
        arch = load_arch(machine)
        for name in arch.weight_formats:
            layers = gemms(name, sizes) + minilm(name, arch) + resnet20(name, arch)
            found += [(arch, name, layer, op) for layer, op in layers[start % every :: every]]
            start += 1
    return found


def errors(op: Gemm, arch: Arch, tiles: int, rng: random.Random) -> list[dict]:
    """Return estimate and cycles of the default tile and some others."""
    legal = legal_tiles(op, arch)
    chosen = [default_gemm_tile(op, arch), *rng.sample(legal, min(tiles, len(legal)))]
    draws = 1
    if op.weight_format and WEIGHT_FORMATS[op.weight_format].has_outliers:
        panels = op.groups * op.column_blocks * op.conv_groups
        draws = min(DRAWS, -(-PANELS // panels))
    segments = [stand_in_segment(op, seed=seed) for seed in range(draws)]
    rows = []
    for number, tile in enumerate(chosen):
        counts = [call_record(op, tile, arch, segment)["cycles"] for segment in segments]
        estimate, cycles = walk(op, tile, arch).cycles, statistics.mean(counts)
        rows.append({"default": number == 0, "estimate": estimate, "cycles": cycles,
                     "error": estimate / cycles - 1})  # fmt: skip
    return rows


def summary(rows: list[dict]) -> tuple[int, float, float, float]:
    """Return how many points, and median, 90th percentile and worst of their absolute errors."""
    sizes = sorted(abs(row["error"]) for row in rows)
    return len(sizes), statistics.median(sizes), sizes[int(0.9 * len(sizes))], sizes[-1]


def markdown(rows: list[dict]) -> str:
    """Return the table of `docs/tuning.md`."""
    lines = ["| machine | formats | tiles | points | median | 9 of 10 | worst |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    kinds = {"integers": lambda name: "ms" not in name, "outliers": lambda name: "ms" in name}
    for machine in dict.fromkeys(row["arch"] for row in rows):
        for inside in kinds.values():
            here = [row for row in rows if row["arch"] == machine and inside(row["format"])]
            names = ", ".join(f"`{name}`" for name in dict.fromkeys(r["format"] for r in here))
            for label, default in (("default", True), ("by chance", False)):
                some = [row for row in here if row["default"] == default]
                if some:
                    lines.append(_line(f"`{machine}`", names, label, some))
    lines.append(_line("all", "", "", rows))
    return "\n".join(lines)


def _line(machine: str, names: str, label: str, rows: list[dict]) -> str:
    count, *shares = summary(rows)
    cells = [machine, names, label, f"{count}", *(f"{100 * share:.1f} %" for share in shares)]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Compare; exit with 1 when the median or the worst error is beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=2, help="every n-th layer")
    parser.add_argument("--tiles", type=int, default=1, help="tiles by chance for each layer")
    parser.add_argument("--arch", choices=MACHINES, action="append")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng, rows = random.Random(0), []
    todo = points(tuple(args.arch or MACHINES), args.every)
    for arch, name, layer, op in track(todo, "layers", console=Console(stderr=True)):
        for row in errors(op, arch, args.tiles, rng):
            rows.append({"arch": arch.name, "format": name, "layer": layer, **row})
    print(json.dumps(rows, indent=1) if args.json else markdown(rows))
    _, median, _, worst = summary(rows)
    return int(median > MEDIAN or worst > WORST)


if __name__ == "__main__":
    sys.exit(main())
