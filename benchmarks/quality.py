"""Real models on the simulator: bit-exactness per layer and SQNR against fp32, as one table.

python -m benchmarks.quality [--models resnet20 ddpm ...] [--recipes int8 ...] [--json]
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import microscopiq as mq
from benchmarks.models import MODELS, MissingData
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.verify import run_reference, verify_layers
from microscopiq.target.arch import DEFAULT_ARCH

RECIPES = ("int8", "int4", "microscopiq-w4a8", "microscopiq-w2a8", "fineq-w2a8")
ARCHS = {"fineq-w2a8": "fineq-64x64"}
"""Machines of recipes that the default machine has no decoder for."""
OPTIONS = {"minilm": {"batch": 1, "length": 32}}


def sqnr_db(reference: np.ndarray, value: np.ndarray) -> float:
    """Return the signal to quantization noise ratio in dB, over all elements."""
    signal = np.square(reference.astype(np.float64)).sum()
    noise = np.square(reference.astype(np.float64) - value).sum()
    return float(10 * np.log10(signal / noise)) if noise else float("inf")


def flat(outputs: list[np.ndarray]) -> np.ndarray:
    """Return the elements of all outputs in one row."""
    return np.concatenate([array.ravel() for array in outputs])


def measure(name: str, mod, real, recipe: str) -> dict:
    """Compile one model with one recipe and return its row of the table."""
    start = time.perf_counter()
    arch = ARCHS.get(recipe, DEFAULT_ARCH)
    compilation = compile_model(mod, Options(recipe=recipe, arch=arch))
    built = time.perf_counter() - start
    inputs = [tensor.numpy() for tensor in real.example_inputs]
    checks = verify_layers(compilation, inputs)
    result = mq.Session(compilation.executable).run(*inputs)
    reference = run_reference(compilation, inputs)
    wanted, found = map(flat, (real.example_outputs(), result.outputs))
    layers = [record.weights for record in compilation.layers.values() if record.weights]
    weights = sum(row.count for row in layers)
    return {
        "model": name,
        "recipe": recipe,
        "sqnr_db": sqnr_db(wanted, found),
        "bits_per_weight": 8 * sum(row.weight_bytes for row in layers) / weights,
        "calls": len(checks),
        "calls_equal": sum(check.different == 0 for check in checks),
        "elements": sum(check.elements for check in checks),
        "elements_different": sum(check.different for check in checks),
        "output_equal": all(
            np.array_equal(a.view(np.uint8), b.view(np.uint8))
            for a, b in zip(reference, result.outputs, strict=True)
        ),
        "cycles": result.cycles,
        "utilisation": result.utilisation,
        "compile_s": built,
    }


def table(rows: list[dict]) -> Table:
    """Return the rows as a table for a terminal."""
    out = Table(title="Simulator against the LLVM reference (bits) and against fp32 (SQNR)")
    for heading in ("model", "recipe"):
        out.add_column(heading)
    for heading in ("SQNR dB", "bits/weight", "calls equal", "output", "cycles", "util."):
        out.add_column(heading, justify="right")
    for row in rows:
        out.add_row(
            row["model"],
            row["recipe"],
            f"{row['sqnr_db']:.2f}",
            f"{row['bits_per_weight']:.3f}",
            f"{row['calls_equal']}/{row['calls']}",
            "equal" if row["output_equal"] else "DIFFERENT",
            f"{row['cycles']:,}",
            f"{100 * row['utilisation']:.1f} %",
        )
    return out


def markdown(rows: list[dict]) -> str:
    """Return the rows as a page of the documentation."""
    lines = [
        "# Models",
        "",
        "Written by `python -m benchmarks.quality --markdown docs/models.md`: real models on",
        f"`{DEFAULT_ARCH}`, all operators of each (FineQ on `fineq-64x64`, whose host has the",
        "attention products), without calibration data. `calls equal` counts the accelerated",
        "calls whose every output bit is that of the quantized operator on LLVM; SQNR is of the",
        "model's outputs against fp32 torch on one example input.",
        "",
        "| model | recipe | SQNR dB | bits/weight | calls equal | outputs | cycles | util. |",
        "|---|---|---:|---:|---:|---|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['model']} | `{row['recipe']}` | {row['sqnr_db']:.2f} | "
            f"{row['bits_per_weight']:.3f} | {row['calls_equal']} of {row['calls']} | "
            f"{'equal' if row['output_equal'] else 'different'} | {row['cycles']:,} | "
            f"{100 * row['utilisation']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and print; exit with 1 when anything differs from the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in args.models:
        try:
            real = MODELS[name](**OPTIONS.get(name, {}))
        except MissingData as error:
            print(f"skipped {name}: {error}", file=sys.stderr)
            continue
        mod = mq.load_model(real.module, real.example_inputs)
        for recipe in args.recipes:
            print(f"{name} {recipe} ...", file=sys.stderr, flush=True)
            rows.append(measure(name, mod, real, recipe))
    if args.markdown:
        args.markdown.write_text(markdown(rows))
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=110).print(table(rows))
    if not rows:
        print("nothing was measured: see the messages above", file=sys.stderr)
        return 2
    return 0 if all(row["output_equal"] and not row["elements_different"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
