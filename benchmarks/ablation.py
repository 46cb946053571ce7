"""The steps of the paper's Table 7 on real models: does each move the network as it says, and why.

python -m benchmarks.ablation [--models resnet20 ...] [--bits 2 4] [--markdown docs/ablation.md]
                              [--json]
"""

import argparse
import json
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import track

from benchmarks.measures import MEASURES, measure
from benchmarks.models import MissingData
from benchmarks.moments import KINDS, measure_steps
from benchmarks.pruned import pruned_slots
from microscopiq.compiler.study.ablation import BITS, Step, ablation_recipes, steps

WITH, WITHOUT = "+ pruned slots", "+ exponent per 8, reduced"
NAMES = ("resnet20", "babyllama")
SIGNS = {1: "better", -1: "worse", 0: ""}
NOISE = 0.01
"""Part of a measure below which a step hasn't moved it: sixteen of ResNet-20's 1,600 images."""
HEAD = """# Ablation

Written by `python -m benchmarks.ablation --markdown docs/ablation.md`: the steps of MicroScopiQ's
Table 7 (`microscopiq study ablation` on a model of yours) on two real models, at the paper's 2 bits
and at 4. The paper's column is its perplexity of LLaMA-3-8B. `moves` says what the step did to the
network's measure against the step before, and in brackets what it does in the paper where that
differs; changes below 1 % are no move. Layer error: squared error of a layer's outputs on rows that
calibrated nothing, median, with what the quantized layers before it change; the first step's is
without that. Steps from the first activations on run on the simulator.
"""
WHY = """
## Where the paper's order doesn't hold, and why

**Outliers at 2 bits raise ResNet-20's error**, though they lower the layers' (third column above).
It is neither the shared exponent (per 128 and per 8 give the same) nor the pruned neighbours
(pruning comes later and changes little). It is batch norm: it subtracts the means that the network
had in fp32, and weights with three levels shift them. Outliers give channels their power back
(gain) while the means are still wrong, so the network is wrong with more conviction. Bring the
means of the convolutions' channels back to fp32's (on images that the measure doesn't see), and
outliers don't raise the error any more; with the deviations too they help, and pruning costs a
little, as in the paper:

"""
PRUNED = """
**Pruning costs less than the measures resolve**, where the paper loses 0.13: few slots are pruned,
and most of these would hold a zero without it, since least inliers round to zero.

| model | bits | slots pruned | of these zero anyway | weight error | after pruning |
|---|---:|---:|---:|---:|---:|
"""
REST = """
**Outliers at 2 bits hardly help BabyLlama.** LLaMA-3's 39.5 falls to 11.0 with them; this model's
weights have no more outliers than Gaussian ones (0.24 %), so there is little to win.

**Compensation is the step that counts**, where the paper gains 0.05. Without it weights of 2 bits
leave these small models without use; the paper's model still has a perplexity of 9.02 then.

**Exponents per 8 instead of 128 change nothing**: with so few outliers a block of 128 has less than
one, which shares its exponent with nobody.

**MX-INT-4 isn't better than INT4 for BabyLlama**: its scales are powers of two instead of fp16.

**Bias correction is ours**: each layer's bias gets what its quantized weights lack on average. It
costs no bits and no cycles, and does at each layer what the restored means above do for all. Llamas
have no biases, so nothing changes there.

**Migration has nothing to win here**: activations of neither model have outliers to migrate.
"""


def rows_of(name: str, bits: int, folder: Path, console: Console) -> list[dict]:
    """Return a model's rows, each with what its step moved."""
    found = []
    for recipe in track(ablation_recipes(bits), f"{name}, {bits} bits", console=console):
        found.append({**measure(name, recipe, folder), "slot_bits": bits})
    for (before, row), step in zip(pairwise(found), steps(bits)[1:], strict=True):
        row["moved"] = moved(MEASURES[name].better, before["quality"], row["quality"])
        row["expected"] = step.expected
    return found


def moved(better: int, before: float, after: float) -> int:
    """Return 1 if a measure became better, -1 if worse, 0 if it hardly changed."""
    if abs(after - before) < NOISE * abs(before):
        return 0
    return 1 if (after > before) == (better > 0) else -1


def differs(row: dict) -> bool:
    """Tell whether a step moved a network against the paper's order."""
    return bool(row.get("expected")) and row["moved"] != row["expected"]


def table(name: str, fp32: float, rows: list[dict]) -> list[str]:
    """Return a model's rows as Markdown."""
    bits = rows[0]["slot_bits"]
    kind = MEASURES[name].name
    lines = [
        f"\n## {name}, {bits} bits: {kind}, fp32 {fp32:.4g}\n",
        f"| step | paper | {kind} | moves | layer error | bits per weight |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for row, step in zip(rows, steps(bits), strict=True):
        lines.append(_line(row, step))
    return lines


def _line(row: dict, step: Step) -> str:
    word = SIGNS[row.get("moved", 0)]
    if differs(row):
        word = f"{word or 'no'} ({SIGNS[row['expected']]})"
    published = "" if step.published is None else f"{step.published:.2f}"
    return (
        f"| {row['recipe']} | {published} | {row['quality']:.4g} | {word} | "
        f"{row['held_out_error']:.4f} | {row['bits']:.3f} |"
    )


def why_table() -> list[str]:
    """Return what ResNet-20 does at 2 bits with its channels' moments restored, as Markdown."""
    chosen = [recipe for recipe in ablation_recipes(2) if recipe.options.get("damping")]
    chosen = [recipe for recipe in chosen if recipe.weight_format == "ms2"]
    lines = [
        "| step | " + " | ".join(f"{kind}: agree, error, gain" for kind in KINDS) + " |",
        "|---|" + "---|" * len(KINDS),
    ]
    for name, found in measure_steps(chosen).items():
        cells = [
            f"{one['agreement']:.3f}, {one['error']:.3f}, {one['gain']:.2f}"
            for one in found.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def pruned_table(names: list[str], widths: list[int]) -> list[str]:
    """Return what pruning does to the weights, as Markdown."""
    lines = []
    for name in names:
        for bits in widths:
            by_name = {step.name: step.recipe for step in steps(bits)}
            found = pruned_slots(name, by_name[WITH], by_name[WITHOUT])
            share, zeros = 100 * found["share"], 100 * found["zeros"]
            errors = f"{found['error']:.5f} | {found['after']:.5f}"
            lines.append(f"| {name} | {bits} | {share:.2f} % | {zeros:.0f} % | {errors} |")
    return lines


def page(lines: list[str], names: list[str], widths: list[int]) -> str:
    """Return the page of the documentation: tables, and the experiments that explain them."""
    parts = [HEAD.rstrip(), *lines, WHY + "\n".join(why_table())]
    return "\n".join([*parts, PRUNED + "\n".join(pruned_table(names, widths)), REST])


def main() -> int:
    """Measure and print; exit with 2 if there was nothing to measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(NAMES), choices=list(MEASURES))
    parser.add_argument("--bits", nargs="+", type=int, default=list(BITS), choices=BITS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the tables as a page (docs)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    console = Console(stderr=True)
    rows, lines = [], []
    for name in args.models:
        try:
            fp32 = measure(name, None)["quality"]
        except MissingData as missing:
            console.print(f"{name}: {missing}")
            continue
        with TemporaryDirectory() as folder:
            for bits in args.bits:
                found = rows_of(name, bits, Path(folder), console)
                rows += found
                lines += table(name, fp32, found)
    print(json.dumps(rows, indent=1) if args.json else "\n".join(lines))
    if args.markdown and rows:
        args.markdown.write_text(page(lines, args.models, args.bits))
    return 0 if rows else 2


if __name__ == "__main__":
    sys.exit(main())
