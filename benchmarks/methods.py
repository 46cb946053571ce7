"""Methods on real models: what weights of 4 and 2 bits cost in quality, bits and seconds.

python -m benchmarks.methods [--models babyllama ...] [--bits 4 2] [--json]

What is measured and how: `benchmarks/measures.py`. `gptq, published` has GPTQ's fixed damping of
1 %, and sees what the quantized layers before a layer give, as its own code does; `gptq` has our
damping, refinement, and correction of what those layers changed, in biases too. The asymmetric
baselines come in groups of 128, 64 and 32 inputs, for as many bytes as MicroScopiQ. CPU seconds
have calibration in them, but for rounding to nearest, whose first row gathers the statistics of the
others.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.measures import MEASURES, measure
from benchmarks.models import MissingData
from microscopiq.compiler.quant.recipe import FP32, Recipe

PUBLISHED = {"damping": 0.01, "refinements": 0, "upstream": False}
RULES = {"awq": "awq"}
"""Migration that belongs to a method."""
CORRECTED = ("microscopiq", "gptq")
"""Methods whose rows have corrected biases, but for GPTQ as published."""
GROUPS = (128, 64, 32)
SIGMAS = (3.0, 2.5)
"""The paper's, and what fills as many bits as groups of 64 have where weights have no outliers."""


def recipes(bits: int) -> dict[str, Recipe]:
    """Return the rows of a number of bits by their label."""
    rows: dict[str, tuple[str, str, dict]] = {}
    for sigmas in SIGMAS:
        label = f"microscopiq, {sigmas:g} sigma"
        rows[label] = ("microscopiq", f"ms{bits}", {"sigmas": sigmas})
    for group in GROUPS:
        name = f"uint{bits}-g{group}"
        rows[f"rtn {name}"] = ("rtn", name, {})
        rows[f"gptq, published {name}"] = ("gptq", name, PUBLISHED)
        rows[f"gptq {name}"] = ("gptq", name, {})
        rows[f"awq {name}"] = ("awq", name, {})
    return {
        label: Recipe(
            label,
            "",
            method,
            weight_format,
            FP32,
            options=options,
            migration=RULES.get(method),
            bias_correction=method in CORRECTED and options is not PUBLISHED,
        )
        for label, (method, weight_format, options) in rows.items()
    }


def judge(rows: list[dict]) -> list[str]:
    """Return where no row of MicroScopiQ is better than a baseline of at least as many bits.

    Of each baseline the largest groups count that have as many bits.
    """
    better = MEASURES[rows[0]["model"]].better
    lost = []
    for kind in ("rtn", "gptq, published", "gptq"):
        family = [row for row in rows if row["recipe"].rsplit(" ", 1)[0] == kind]
        behind = []
        for ours in rows[: len(SIGMAS)]:
            enough = [row for row in family if row["bits"] >= ours["bits"]] or family[-1:]
            peer = min(enough, key=lambda row: row["bits"])
            if better * ours["quality"] <= better * peer["quality"]:
                behind.append(
                    f"{ours['model']}: {ours['recipe']} {ours['quality']:.4g} at "
                    f"{ours['bits']:.3f} bits, {peer['recipe']} {peer['quality']:.4g} at "
                    f"{peer['bits']:.3f}"
                )
        if len(behind) == len(SIGMAS):
            lost += behind
    return lost


def main() -> int:
    """Measure and print; exit with 1 where a baseline wins at as many bits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MEASURES), choices=list(MEASURES))
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 2], choices=(2, 4))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    quiet = Console(stderr=True)
    rows: list[dict] = []
    lost: list[str] = []
    for name in args.models:
        try:
            rows.append(measure(name, None))
        except MissingData as missing:
            quiet.print(f"{name}: {missing}")
            continue
        with TemporaryDirectory() as folder:
            for bits in args.bits:
                table = recipes(bits)
                found = [
                    measure(name, recipe, Path(folder))
                    for recipe in track(table.values(), f"{name}, {bits} bits", console=quiet)
                ]
                rows += found
                lost += judge(found)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(rows, lost)
    return 1 if lost else 0


def print_table(rows: list[dict], lost: list[str]) -> None:
    """Print a row per model and recipe, then where a baseline wins."""
    console = Console(width=110)
    table = Table(title="Weights alone: what methods cost on real models")
    for heading in ("model", "recipe", "measure"):
        table.add_column(heading)
    for heading in ("quality", "bits", "held-out error", "CPU s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["model"], row["recipe"], row["measure"], f"{row['quality']:.4g}",
            f"{row['bits']:.3f}", f"{row['held_out_error']:.4f}", f"{row['cpu_s']:.1f}",
        )  # fmt: skip
    console.print(table)
    for line in lost:
        console.print(f"not better: {line}")


if __name__ == "__main__":
    sys.exit(main())
