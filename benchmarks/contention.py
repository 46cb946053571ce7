"""What sharing ReCoN costs, and what helps: cycles of all-MiniLM-L6-v2.

python -m benchmarks.contention [--tokens 128 1] [--recipes microscopiq-w4a8 ...] [--json]
python -m benchmarks.contention --ways [--tokens 128 1] [--markdown]

One quantized model per recipe; its program runs on machines that differ only in `recon_units` and
`recon_segment_columns`. The program is the same on all of them and cycles don't depend on the
activations, so each of its functions is timed once. Recipes named `-ordered` sort output channels
by norm. Host operators cost no cycles, the gathers of ordered layers among them: `gather` is what
a DMA that reads and writes these results once more would take.

With `--ways` machines differ in how they multiply outliers, and have schedules of their own; `int4`
on the second one is what no outliers would cost. Where both ways are there, each layer has its own.
"""

import argparse
import dataclasses
import itertools
import json
import sys

import tvm
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import microscopiq as mq
from benchmarks.models import MissingData, minilm
from microscopiq.compiler.driver import run_stages
from microscopiq.compiler.operators import REPLAY
from microscopiq.compiler.options import Options
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.area import area
from microscopiq.target.isa.program import Program

RECIPES = ("microscopiq-w4a8", "microscopiq-w4a8-ordered", "microscopiq-w2a8",
           "microscopiq-w2a8-ordered")  # fmt: skip
UNITS = (1, 2, 4, 8)
SEGMENTS = (0, 8)
WAY_RECIPES = ("microscopiq-w4a8", "microscopiq-w2a8")
PAPERS, V2 = "microscopiq-64x64", "microscopiq-64x64-v2"
WAYS: dict[str, tuple[str, dict[str, int]]] = {
    "ReCoN, the paper's machine": (PAPERS, {}),
    "ReCoN, v2": (V2, {}),
    "replay, v2 without ReCoN": (V2, {"recon_units": 0, "recon_waits": 0, "replay_columns": 64}),
    "both, v2": (V2, {"replay_columns": 64}),
    "both, v2 with one network": (
        V2,
        {"recon_units": 1, "recon_segment_columns": 0, "recon_waits": 0, "replay_columns": 64},
    ),
}
PAPER = {1: 1.0, 2: 0.85, 4: 0.82, 8: 0.79}
"""Latency by units, LLaMA3-8B on 64x64 (MicroScopiQ, Fig. 18a)."""


def run_functions(program: Program, arch: Arch) -> dict:
    """Time every function of a program once on a machine; return summed costs."""
    moved = Program.for_arch(arch, program.functions)
    module = tvm.get_global_func("microscopiq.runtime.create")(moved.to_bytes())
    for name in program.functions:
        module["microscopiq.time"](name)
    calls = json.loads(str(module["microscopiq.stats"]()))
    array: dict[str, int] = {}
    for call in calls:
        for cause, cycles in call["units"]["array"].items():
            array[cause] = array.get(cause, 0) + cycles
    return {
        "cycles": sum(call["cycles"] for call in calls),
        "array": array,
        "passes": sum(call["recon"]["passes"] for call in calls),
        "second_passes": sum(call["recon"]["second_passes"] for call in calls),
    }


def measure(recipe: str, tokens: int, progress) -> list[dict]:
    """Return a row per machine for one recipe and length."""
    real = minilm.load(batch=1, length=tokens)
    mod = mq.load_model(real.module, minilm.some_ids(tokens))
    arch = load_arch("microscopiq-64x64")
    state = run_stages(mod, Options(recipe=recipe, arch=arch))
    program = state.program
    moved = sum(
        2 * 4 * record.work.m * record.work.n * (1 + ("residual" in record.work.fused))
        for record in state.layers.values()
        if record.work and record.work.output_order == "gathered behind"
    )
    rows = []
    for segment in SEGMENTS:
        for units in UNITS:
            machine = dataclasses.replace(arch, recon_units=units, recon_segment_columns=segment)
            costs = run_functions(program, machine)
            rows.append({"recipe": recipe, "tokens": tokens, "units": units,
                         "segment_columns": segment, **costs,
                         "gather": moved // arch.dram_bandwidth_bytes_per_cycle})  # fmt: skip
            progress()
    return rows


def measure_ways(tokens: int) -> list[dict]:
    """Return a row for each way and recipe; cycles of `int4` beside them."""
    real = minilm.load(batch=1, length=tokens)
    mod = mq.load_model(real.module, minilm.some_ids(tokens))
    plain = _on(mq.quantize(mod, "int4"), load_arch(V2))["cycles"]
    rows = []
    for recipe in WAY_RECIPES:
        quantized = mq.quantize(mod, recipe)
        for way, (name, keys) in WAYS.items():
            arch = dataclasses.replace(load_arch(name), **keys)
            rows.append({"recipe": recipe, "tokens": tokens, "way": way, "int4": plain,
                         **_on(quantized, arch)})  # fmt: skip
    return rows


def _on(quantized: tvm.IRModule, arch: Arch) -> dict:
    """Return the costs of a quantized model on a machine, and how many layers replay outliers."""
    state = run_stages(quantized, Options(arch=arch))
    taken = list(state.outlier_ways.values())
    parts = [part.um2 for part in area(arch) if part.component in ("array", "recon")]
    return {**run_functions(state.program, arch), "replayed": taken.count(REPLAY),
            "layers": len(taken), "um2": sum(parts)}  # fmt: skip


def print_ways(rows: list[dict], markdown: bool) -> None:
    """Print the rows of `measure_ways`."""
    headings = ("recipe", "tokens", "way", "cycles", "of int4", "layers that replay",
                "array and ReCoN, mm2")  # fmt: skip
    lines = [
        (
            row["recipe"].removeprefix("microscopiq-"),
            str(row["tokens"]),
            row["way"],
            f"{row['cycles']:,}",
            f"{row['cycles'] / row['int4']:.2f}",
            f"{row['replayed']} of {row['layers']}",
            f"{row['um2'] / 1e6:.4f}",
        )
        for row in rows
    ]
    if markdown:
        print("| " + " | ".join(headings) + " |\n|" + "---|" * len(headings))
        for line in lines:
            print("| " + " | ".join(line) + " |")
        return
    out = Table(*headings, title="all-MiniLM-L6-v2: ways to multiply outliers")
    for line in lines:
        out.add_row(*line)
    Console(width=110).print(out)


def main() -> int:
    """Measure and print; exit with 1 when more units ever cost cycles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", nargs="+", type=int, default=(128, 1))
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="of --ways")
    args = parser.parse_args()
    if args.ways:
        try:
            found = [row for tokens in args.tokens for row in measure_ways(tokens)]
        except MissingData as error:
            print(f"skipped: {error}", file=sys.stderr)
            return 0
        print_ways(found, args.markdown)
        return 0
    rows: list[dict] = []
    total = len(args.recipes) * len(args.tokens) * len(UNITS) * len(SEGMENTS)
    try:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("machines", total=total)
            for recipe in args.recipes:
                for tokens in args.tokens:
                    rows += measure(recipe, tokens, lambda: bar.advance(task))
    except MissingData as error:
        print(f"skipped: {error}", file=sys.stderr)
        return 0
    # Latencies count from the first row of the same length and format: one unit, uncut, unordered.
    first: dict[tuple, int] = {}
    for row in rows:
        key = row["tokens"], row["recipe"].removesuffix("-ordered")
        row["latency"] = row["cycles"] / first.setdefault(key, row["cycles"])
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=100).print(table(rows))
    return 0 if grows_nowhere(rows) else 1


def grows_nowhere(rows: list[dict]) -> bool:
    """Return whether cycles never grow with the units, everything else equal."""
    pairs = itertools.pairwise(rows)
    return all(b["units"] < a["units"] or b["cycles"] <= a["cycles"] for a, b in pairs)


def table(rows: list[dict]) -> Table:
    """Return the rows as a table for a terminal."""
    out = Table(title="all-MiniLM-L6-v2 on microscopiq-64x64: cycles by ReCoN units and segments")
    for heading in ("recipe", "tokens", "segment", "units"):
        out.add_column(heading, justify="left" if heading == "recipe" else "right")
    for heading in ("cycles", "latency", "paper", "in ReCoN", "second passes", "gather"):
        out.add_column(heading, justify="right")
    for row in rows:
        segment = row["segment_columns"]
        out.add_row(
            row["recipe"].removeprefix("microscopiq-"),
            str(row["tokens"]),
            str(segment or "none"),
            str(row["units"]),
            f"{row['cycles']:,}",
            f"{row['latency']:.3f}",
            "" if segment or "ordered" in row["recipe"] else f"{PAPER[row['units']]:.2f}",
            f"{100 * row['array']['recon'] / row['cycles']:.0f} %",
            f"{row['second_passes']:,}",
            f"{row['gather']:,}" if row["gather"] else "",
        )
    return out


if __name__ == "__main__":
    sys.exit(main())
