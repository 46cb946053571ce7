"""MiniLM as one program against the sum of its operators, each run alone: cycles and traffic.

python -m benchmarks.one_program [--tokens 128 1] [--recipe int8] [--arch NAME] [--json]
                                 [--markdown docs/one_program.md]

Both are the same operators with the same tiles and give the same bits. Exits with 1 when one
program doesn't take as many cycles less as it must.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import microscopiq as mq
from benchmarks.models import minilm
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.runtime.results.result import RunResult
from microscopiq.target.arch import DEFAULT_ARCH

LEAST_SAVED = {128: 0.10, 1: 0.25}
"""What the project asks of itself, by number of tokens."""
UNITS = ("dma_in", "wload", "array", "vector", "dma_out")


def measure(tokens: int, recipe: str, arch: str) -> dict:
    """Return the figures of both ways of running the model."""
    model = minilm.load(1, tokens)
    inputs = minilm.some_ids(tokens)
    mod = mq.load_model(torch.export.export(model.module, inputs))
    arrays = [value.numpy() for value in inputs]
    alone, one = (
        mq.Session(
            compile_model(mod, Options(recipe=recipe, arch=arch, graph=graph)).executable
        ).run(*arrays)
        for graph in (False, True)
    )
    equal = all(
        np.array_equal(a.view(np.uint8), b.view(np.uint8))
        for a, b in zip(alone.outputs, one.outputs, strict=True)
    )
    row = {"tokens": tokens, "recipe": recipe, "arch": arch, "equal": equal}
    row |= {"alone": _figures(alone), "one": _figures(one), "least": LEAST_SAVED.get(tokens, 0.0)}
    return row | {"saved": 1 - one.cycles / alone.cycles}


def _figures(result: RunResult) -> dict:
    busy = {unit: result.unit_cycles[unit]["busy"] / result.cycles for unit in UNITS}
    return {"cycles": result.cycles, "bytes": sum(result.bytes_moved.values()), "busy": busy}


def missed(row: dict) -> bool:
    """Tell whether a row is short of what it must save, or differs."""
    return row["saved"] < row["least"] or not row["equal"]


def cells(row: dict) -> list[tuple[str, ...]]:
    """Return the lines of a row: operators alone, and one program."""
    lines = []
    for name in ("alone", "one"):
        figures = row[name]
        saved = f"{100 * row['saved']:.1f} % (at least {100 * row['least']:.0f})"
        lines.append(
            (
                str(row["tokens"]),
                "operators alone" if name == "alone" else "one program",
                f"{figures['cycles']:,}",
                saved if name == "one" else "",
                f"{figures['bytes'] / 1e6:.2f}",
                *(f"{100 * figures['busy'][unit]:.0f}" for unit in UNITS),
            )
        )
    return lines


HEADINGS = ("tokens", "run as", "cycles", "fewer", "MB moved", *UNITS)


def table(rows: list[dict]) -> Table:
    """Return the figures as a table for a terminal."""
    title = f"all-MiniLM-L6-v2, {rows[0]['recipe']}, {rows[0]['arch']}; percent busy by unit"
    out = Table(title=title)
    for number, heading in enumerate(HEADINGS):
        out.add_column(heading, justify="left" if number == 1 else "right")
    for row in rows:
        for line in cells(row):
            out.add_row(*line)
    return out


def markdown(rows: list[dict]) -> str:
    """Return the figures as a page of the documentation."""
    lines = [
        "# One program",
        "",
        "Written by `python -m benchmarks.one_program --markdown docs/one_program.md`:",
        f"all-MiniLM-L6-v2 with recipe `{rows[0]['recipe']}` on `{rows[0]['arch']}`, its operators",
        "as one program against the sum of these operators run alone (`--no-graph`). The outputs",
        "are equal in every bit. The last columns say how many percent of the cycles a unit was",
        "busy.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---:|---|" + "---:|" * (len(HEADINGS) - 2),
    ]
    lines += ["| " + " | ".join(line) + " |" for row in rows for line in cells(row)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and exit with 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=list(LEAST_SAVED))
    parser.add_argument("--recipe", default="int8")
    parser.add_argument("--arch", default=DEFAULT_ARCH)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [measure(tokens, args.recipe, args.arch) for tokens in args.tokens]
    if args.markdown:
        args.markdown.write_text(markdown(rows))
    print(json.dumps(rows, indent=1)) if args.json else Console(width=120).print(table(rows))
    return int(any(map(missed, rows)))


if __name__ == "__main__":
    sys.exit(main())
