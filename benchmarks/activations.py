"""Activations of 4 bits beside 8, with the same weights: what each step costs and gains.

python -m benchmarks.activations [--models resnet20 ...] [--kept ROWS.jsonl] [--json]
                                 [--markdown docs/activations.md]

Weights are those of `microscopiq-w4a4-g32` in every row, packed bytes and all; the last row's have
the same values, summed over 16 inputs. What is measured and how: `benchmarks/measures.py`. It takes
an hour: `--kept` keeps rows in a file and takes up a run where it ended.
"""

import argparse
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from benchmarks.measures import DEMO, MEASURES, measure
from benchmarks.models import MissingData
from microscopiq.compiler.quant.recipe import Recipe, load_recipe
from microscopiq.target.formats import ACTIVATION_FORMATS

RECIPE, SHORTER = "microscopiq-w4a4-g32", "microscopiq-w4a4-g16"
ARCH = "microscopiq-64x64"
WIDE = "8 bits"
STEPS: dict[str, tuple[str, dict[str, str]]] = {
    WIDE: ("mx-int8", {}),
    "8 bits, blocks": ("mxint8", {}),
    "4 bits": ("mx-int4", {}),
    "4 bits, blocks": ("mxint4", {}),
    "+ no sign behind ReLU": ("mxint4", {"nonnegative": "mxuint4"}),
    "+ attention at 8 bits": ("mxint4", {"nonnegative": "mxuint4", "attention": "mxint8"}),
    "+ inputs at 8 bits": ("mxint4", load_recipe(RECIPE).activations),
    "+ blocks of 16": ("mxint4-g16", load_recipe(SHORTER).activations),
}
"""Format of activations and of those with a role. Without blocks a convolution's images share an
exponent each; a linear layer's rows have one for each group of weights in any case."""
WEIGHTS = {16: load_recipe(SHORTER).weight_format}
NAMES = ("resnet20", "vit", "minilm", "babyllama")
MOST_LOST = {"resnet20": 0.03, "vit": 0.01, "minilm": 0.01, "babyllama": 1.1}
"""What the last step may lose against 8 bits: points; of a perplexity the ratio."""
PAGE = """\
# Activations of 4 bits

Written by `python -m benchmarks.activations --markdown docs/activations.md`: weights in `{weights}`
by `{method}`, calibrated, the same in every row, on `{arch}`. ResNet-20's figure is its agreement
with fp32 on 1,600 images, the others' are accuracy (Banking77, digits) and perplexity. Cycles are
of one call. A step that isn't there wasn't measured.

{tables}
Blocks have an exponent per 32 inputs of a row; a convolution whose activations have none shares one
per image, and with blocks it is written as one tap over all that an output reads, which costs the
cycles. `+ ..` adds to the row above. The last rows are the recipes
`{recipe}` and `{shorter}`; weights have the same values in both.

{verdicts}"""


def recipes() -> dict[str, Recipe]:
    """Return the rows by label: one recipe's weights with activations of several formats."""
    base, found = load_recipe(RECIPE), {}
    for label, (activation, by_role) in STEPS.items():
        weights = WEIGHTS.get(ACTIVATION_FORMATS[activation].group, base.weight_format)
        found[label] = replace(
            base,
            name=label,
            weight_format=weights,
            activation=activation,
            activations=by_role,
        )
    return found


def lost(found: dict[str, dict], label: str) -> float:
    """Return what a row loses against 8 bits, in points; of a perplexity the ratio."""
    wide, row = found[WIDE], found[label]
    if row["measure"] == "perplexity":
        return row["quality"] / wide["quality"]
    return wide["quality"] - row["quality"]


def shown(row: dict, value: float) -> str:
    """Return a quality, or what was lost of it, as the page shows it."""
    return f"{value:.3f}" if row["measure"] == "perplexity" else f"{100 * value:.2f}"


def table(found: dict[str, dict]) -> str:
    """Return the rows of one model."""
    first = next(iter(found.values()))
    unit = "" if first["measure"] == "perplexity" else ", %"
    change = "times" if first["measure"] == "perplexity" else "points lost"
    lines = [["activations", f"{first['measure']}{unit}", change, "cycles"]]
    lines += [["---", "---:", "---:", "---:"]]
    for label, row in found.items():
        known = WIDE in found and label not in (WIDE, "fp32")
        lines.append([
            label,
            shown(row, row["quality"]),
            shown(row, lost(found, label)) if known else "",
            f"{row['cycles']:,}" if row["cycles"] else "",
        ])  # fmt: skip
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def verdict(name: str, found: dict[str, dict]) -> tuple[bool, str]:
    """Tell whether the last step that was measured loses no more than it may, in a sentence."""
    label = [label for label in STEPS if label in found][-1]
    row, value, most = found[label], lost(found, label), MOST_LOST[name]
    unit = "times" if row["measure"] == "perplexity" else "points"
    text = f"{name}, {label}: {shown(row, value)} {unit}, at most {shown(row, most)} are asked for"
    return value <= most, text


def main() -> int:
    """Measure and print; exit with 1 when 4 bits lose more than they may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(NAMES), choices=[*MEASURES, *DEMO])
    parser.add_argument("--kept", type=Path, help="rows of a run that ended early, and of this one")
    parser.add_argument("--only-kept", action="store_true", help="measure nothing more")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the tables as a page (docs)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    quiet = Console(stderr=True)
    rows = []
    if args.kept and args.kept.exists():
        rows = [json.loads(line) for line in args.kept.read_text().splitlines()]
    have = {(row["model"], row["recipe"]) for row in rows}
    for name in args.models:
        wanted = [(label, r) for label, r in {"fp32": None, **recipes()}.items()]
        wanted = [(label, r) for label, r in wanted if (name, label) not in have]
        wanted = [] if args.only_kept else wanted
        with TemporaryDirectory() as folder:
            for _, recipe in track(wanted, name, console=quiet):
                try:
                    rows.append(measure(name, recipe, Path(folder), ARCH))
                except MissingData as missing:
                    quiet.print(f"{name}: {missing}")
                    break
                if args.kept:
                    with args.kept.open("a") as kept:
                        kept.write(json.dumps(rows[-1]) + "\n")
    models = {
        name: {
            label: row
            for label in ("fp32", *STEPS)
            for row in rows
            if (row["model"], row["recipe"]) == (name, label)
        }
        for name in args.models
    }
    models = {name: found for name, found in models.items() if found}
    judged = {n: found for n, found in models.items() if n in MOST_LOST and WIDE in found}
    verdicts = [verdict(name, found) for name, found in judged.items()]
    tables = "".join(f"## {name}\n\n{table(found)}\n" for name, found in models.items())
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=110).print(Markdown(tables))
    if args.markdown:
        base = load_recipe(RECIPE)
        said = "".join(f"- {text}{'' if good else ': missed'}.\n" for good, text in verdicts)
        page = PAGE.format(
            weights=base.weight_format,
            method=base.method,
            arch=ARCH,
            recipe=RECIPE,
            shorter=SHORTER,
            tables=tables,
            verdicts=said,
        )
        args.markdown.write_text(page)
    for good, text in verdicts:
        if not good:
            print(f"missed: {text}", file=sys.stderr)
    return 0 if all(good for good, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
