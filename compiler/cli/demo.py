"""The command `microscopiq demo`: a small trained model from its file to its accuracy."""

import enum
import json
from typing import Annotated

import typer

from ...runtime.whole_file import make_folder
from ...target.arch import DEFAULT_ARCH, load_arch
from ..quant.defaults import recipe_for
from .checks import check_names
from .costs import cost_rows, print_units
from .interrupts import importing
from .layers import print_host
from .options import ArchName, Json, Recipe
from .quantities import percent
from .tables import new_console, print_facts, say


class DemoModel(str, enum.Enum):
    """Models that come with the package."""

    vit = "vit"
    cnn = "cnn"


def demo(
    model: Annotated[DemoModel, typer.Option(help="Model that comes with the package.")] = (
        DemoModel.vit
    ),
    recipe: Recipe = None,
    arch: ArchName = DEFAULT_ARCH,
    as_json: Json = False,
) -> None:
    """Compile a small trained model and run it on images it hasn't seen."""
    check_names([recipe] if recipe else [], arch)
    recipe = recipe or recipe_for(load_arch(arch)).name
    folder = make_folder("microscopiq-demo")
    with importing():
        from ..demo.run import run_demo
        from .progress import StageBars
    with StageBars() as bars:
        result = run_demo(model.value, recipe, arch, folder, bars)
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        print_demo(result)


def print_demo(result) -> None:
    """Print a `DemoResult`."""
    from ..demo.run import LISTING, TITLES

    console, run, images = new_console(), result.run, result.images
    state = result.compilation
    say(
        console,
        f"Quantized the digits {TITLES[result.model]} with {result.recipe}, compiled it for "
        f"{state.arch.name}, and ran all {images} held-out images on the simulator "
        f"({result.seconds:.0f} s).",
    )
    rows = [
        ("Accuracy", percent(result.correct, images), f"on the array: {result.correct} of "
         f"{images} images"),
        ("", percent(result.correct_fp32, images), f"in fp32 on LLVM, not quantized: "
         f"{result.correct_fp32} of {images}"),
        ("Agreement", percent(result.agreeing, images), f"same prediction for "
         f"{result.agreeing} of {images} images"),
        ("Weights", f"{result.bits_per_weight:.2f} bits", f"each of {result.weights:,} weights, "
         "from all their packed bytes"),
    ]  # fmt: skip
    rows += cost_rows(run, state.program, images)
    print_facts(console, rows)
    print_units(console, run)
    print_host(console, state.host)
    print_facts(
        console,
        [
            ("Listing", "", str(result.folder / LISTING)),
            ("Numbers", "", str(result.folder / "result.json")),
        ],
        "Files",
    )
