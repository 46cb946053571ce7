"""What outliers cost all-MiniLM-L6-v2: cycles in `int4`, `ms4` and `ms2` of the same machine.

python -m benchmarks.encoder [--tokens 128 1] [--arch NAME] [--json] [--markdown docs/encoder.md]

The model's own weights, quantized without samples, activations of 8 bits, timed. `linears` are its
linear layers, each run alone; `products` all products, attention's too, as parts of one program;
`whole` is that program. Exits with 1 where `ms4` takes more than 1.2 times the cycles of `int4`,
or `ms2` isn't 1.6 times faster.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import microscopiq as mq
from benchmarks.models import minilm
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.target.arch import DEFAULT_ARCH

RECIPES = {"int4": "int4", "ms4": "microscopiq-w4a8", "ms2": "microscopiq-w2a8"}
AT_MOST, FEWER = 1.2, 1.6
"""Cycles of `ms4` over those of `int4`, and of `int4` over those of `ms2`."""
SUMS = ("linears", "products", "whole")
UNITS = ("dma_in", "wload", "array", "vector")


def measure(mod, recipe: str, arch: str) -> dict:
    """Return the cycles of a model by recipe: `SUMS`, and the share that each unit is busy."""
    alone = compile_model(mod, Options(recipe=recipe, arch=arch, graph=False))
    session = mq.Session(alone.executable)
    functions = session.program.functions
    linears = [call for call in session.time().calls if functions[call["name"]].weights]
    one = mq.Session(compile_model(mod, Options(recipe=recipe, arch=arch)).executable).time()
    return {
        "linears": sum(call["cycles"] for call in linears),
        "products": sum(call["cycles"] for call in one.calls if call["macs"]),
        "whole": one.cycles,
        "busy": {unit: one.unit_cycles[unit]["busy"] / one.cycles for unit in UNITS},
    }


def compare(tokens: int, arch: str) -> dict:
    """Return the figures of all recipes for a sentence of so many tokens."""
    model = minilm.load(1, tokens)
    mod = mq.load_model(torch.export.export(model.module, minilm.some_ids(tokens)))
    return {"tokens": tokens} | {name: measure(mod, r, arch) for name, r in RECIPES.items()}


def ratios(row: dict, name: str) -> tuple[float, float]:
    """Return the cycles of `ms4` over those of `int4`, and of `int4` over those of `ms2`."""
    int4, ms4, ms2 = (row[recipe][name] for recipe in RECIPES)
    return ms4 / int4, int4 / ms2


HEADINGS = ("tokens", "cycles of", *RECIPES, "ms4 / int4", "int4 / ms2")


def cells(row: dict) -> list[tuple[str, ...]]:
    """Return the lines of a table for so many tokens."""
    lines = []
    for name in SUMS:
        counts = [f"{row[recipe][name]:,}" for recipe in RECIPES]
        lines.append((str(row["tokens"]), name, *counts, *(f"{r:.3f}" for r in ratios(row, name))))
    for unit in UNITS:
        shares = [f"{100 * row[recipe]['busy'][unit]:.0f} %" for recipe in RECIPES]
        lines.append((str(row["tokens"]), f"{unit} busy in whole", *shares, "", ""))
    return lines


def missed(rows: list[dict]) -> list[str]:
    """Return what takes more cycles than it may."""
    found = []
    for row in rows:
        for name in SUMS:
            more, fewer = ratios(row, name)
            where = f"{row['tokens']} token{'s' * (row['tokens'] > 1)}, {name}"
            if more > AT_MOST:
                found.append(f"{where}: ms4 takes {more:.3f} of int4's cycles; allowed {AT_MOST}")
            if fewer < FEWER:
                found.append(f"{where}: int4 takes {fewer:.3f} of ms2's cycles; wanted {FEWER}")
    return found


def markdown(rows: list[dict], arch: str) -> str:
    """Return the figures as a page of the documentation."""
    lines = [
        "# What outliers cost an encoder",
        "",
        "Written by `python -m benchmarks.encoder --markdown docs/encoder.md`: all-MiniLM-L6-v2 on",
        f"`{arch}`, its own weights quantized without samples, activations of 8 bits.",
        "*linears* are its linear layers, each run alone, with what is fused behind them;",
        "*products* all products as parts of one program; *whole* is that program. `ms4` is to",
        f"take at most {AT_MOST} times the cycles of `int4`, and `int4` at least {FEWER} times",
        "those of `ms2`.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---:|---|" + "---:|" * (len(HEADINGS) - 2),
    ]
    lines += ["| " + " | ".join(line) + " |" for row in rows for line in cells(row)]
    return "\n".join([*lines, "", *(f"- Missed: {text}." for text in missed(rows))]) + "\n"


def table(rows: list[dict], arch: str) -> Table:
    """Return the figures as a table for a terminal."""
    out = Table(title=f"all-MiniLM-L6-v2 on {arch}")
    for number, heading in enumerate(HEADINGS):
        out.add_column(heading, justify="left" if number == 1 else "right")
    for row in rows:
        for line in cells(row):
            out.add_row(*line)
    return out


def main() -> int:
    """Measure, print, and exit with 1 where a ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 1])
    parser.add_argument("--arch", default=DEFAULT_ARCH)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [compare(tokens, args.arch) for tokens in args.tokens]
    if args.markdown:
        args.markdown.write_text(markdown(rows, args.arch))
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=110).print(table(rows, args.arch))
    for text in missed(rows):
        print(text)
    return 1 if missed(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
