"""Recipe `integer-only` beside `int8`: accuracy, cycles, energy, and what the instructions are.

python -m benchmarks.integer_only [--models digits-vit resnet20 minilm] [--json]
                                  [--markdown docs/integer_only.md]

Each model is calibrated on inputs that its measure doesn't see: accuracy of the digits ViT on its
held-out images, share of ResNet-20's classes that stay those of fp32, accuracy of
all-MiniLM-L6-v2 on Banking77. Compilation fails if the checker finds a floating-point number
between inputs and outputs.
Exits with 1 where `integer-only` is more than a point below `int8`.
"""

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import microscopiq as mq
from benchmarks.measures import BATCH as IMAGES
from benchmarks.measures import LENGTHS, MEASURES
from benchmarks.models import MissingData
from microscopiq.compiler.demo.digits import held_out, train_split
from microscopiq.compiler.demo.run import BATCH, FOLDER
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.integer_only.check import is_floating
from microscopiq.target.arch import DEFAULT_ARCH
from microscopiq.target.isa.program import Program
from microscopiq.target.isa.spec import Instruction, Unit

RECIPES = ("integer-only", "int8")
POINT = 0.01
SAMPLES = 8
"""Batches of images that calibrate the digits ViT."""
KINDS = ("integer", "fp32", "moves", "order")
"""What instructions do."""
PAGE = f"""# Integers alone

Written by `python -m benchmarks.integer_only --markdown docs/integer_only.md`: recipe
`integer-only` beside `int8` on `{DEFAULT_ARCH}`, calibrated on inputs that the measure doesn't
see. Each compilation by `integer-only` ends with the proof that nothing between inputs and outputs
touches a floating-point number; what is left of fp32 makes integers of the inputs, and numbers of
the results. Cycles and energy are of one call: {BATCH} images of digits, {IMAGES} images by
ResNet-20, {IMAGES} sentences of {LENGTHS[-1]} tokens. The last columns say how many percent of a
program's instructions compute with integers, compute with fp32, move data, and keep order (loops,
extents, waits).

"""


def kind(instruction: Instruction) -> str:
    """Return what an instruction does: one of `KINDS`."""
    if is_floating(instruction):
        return "fp32"
    if instruction.unit in (Unit.ARRAY, Unit.VECTOR):
        return "integer"
    return "order" if instruction.unit == Unit.CONTROL else "moves"


def kinds(program: Program) -> Counter[str]:
    """Return how many instructions of a program do what."""
    return Counter(kind(each) for f in program.functions.values() for each in f.code)


class Built:
    """What a measure calls: the machine, and what its first call cost."""

    def __init__(self, recipe: str):
        self.recipe, self.first, self.kinds = recipe, None, Counter[str]()
        self.session: mq.Session | None = None

    def build(self, source, example, samples: list) -> Callable:
        """Compile for a measure; what a call costs is of the first call of the last model."""
        mod = mq.load_model(source) if example is None else mq.load_model(source, example)
        state = compile_model(mod, Options(self.recipe, calibration=samples))
        session = self.session = mq.Session(state.executable)
        self.kinds = kinds(state.program)

        def run(*arrays):
            result = session.run(*arrays)
            if session is self.session:
                self.first = self.first or result
            return result.outputs

        return run


def digits(build: Callable) -> float:
    """Return the accuracy of the digits ViT on its held-out images."""
    images, labels = held_out()
    train, _ = train_split()
    samples = [(each,) for each in train[: SAMPLES * BATCH].reshape(-1, BATCH, *train.shape[1:])]
    run = build(FOLDER / "digits_vit.onnx", None, samples)
    right = 0
    for at in range(0, len(images), BATCH):
        right += int((run(images[at : at + BATCH])[0].argmax(1) == labels[at : at + BATCH]).sum())
    return right / len(images)


MODELS = {
    "digits-vit": ("accuracy", digits),
    "resnet20": ("classes of fp32", MEASURES["resnet20"].run),
    "minilm": ("Banking77", MEASURES["minilm"].run),
}


def measure(name: str, recipe: str) -> dict:
    """Return the row of a model and a recipe."""
    what, run = MODELS[name]
    built = Built(recipe)
    quality = run(built.build)
    assert built.first is not None
    return {
        "model": name,
        "recipe": recipe,
        "measure": what,
        "quality": quality,
        "cycles": built.first.cycles,
        "energy_uj": sum(built.first.energy_pj.values()) / 1e6,
        **{name: built.kinds[name] / built.kinds.total() for name in KINDS},
    }


def markdown(rows: list[dict]) -> str:
    """Return the rows as a table."""
    lines = [
        f"| model | recipe | measure | | cycles | energy, uJ | {' | '.join(KINDS)} |",
        "|---|---|---|---:|---:|---:|" + "---:|" * len(KINDS),
    ]
    for row in rows:
        shares = " | ".join(f"{100 * row[name]:.1f}" for name in KINDS)
        lines.append(
            f"| {row['model']} | `{row['recipe']}` | {row['measure']} | "
            f"{100 * row['quality']:.2f} % | {row['cycles']:,} | {row['energy_uj']:,.1f} | "
            f"{shares} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and print; exit with 1 when a model loses more than a point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, lost = [], []
    for name in args.models:
        try:
            pair = [measure(name, recipe) for recipe in RECIPES]
        except MissingData as error:
            print(f"skipped {name}: {error}", file=sys.stderr)
            continue
        rows += pair
        if pair[0]["quality"] < pair[1]["quality"] - POINT:
            lost.append(name)
    print(json.dumps(rows, indent=1) if args.json else markdown(rows), end="")
    if args.markdown:
        args.markdown.write_text(PAGE + markdown(rows))
    return 1 if lost or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
