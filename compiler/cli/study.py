"""The commands `microscopiq study compare` and `ablation`: recipes, or the steps of one."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from ...target.arch import DEFAULT_ARCH
from ..study.ablation import ablation_recipes
from .checks import check_input, check_names, check_outputs
from .inputs import InputShape, InputValue, loading
from .interrupts import importing
from .options import ArchName, Json
from .rows import Csv, Model, names, write_csv
from .sheet import Sheet
from .tables import new_console, print_table, print_written

RECIPES = (
    "rtn-w4a16,gptq-w4a16,awq-w4a16,microscopiq-w4a16,"
    "int4,gptq-w4a8,microscopiq-w4a8,smoothquant-w8a8"
)
HEADINGS = [
    "recipe",
    "error",
    "agree %",
    "bits",
    "layer error",
    "quantize s",
    "cycles",
    "energy uJ",
]
Samples = Annotated[
    Path,
    typer.Option(
        "--calibration",
        metavar="X.npz",
        help="Inputs by name, samples along the first dimension; every fourth measures.",
    ),
]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="F.svg", help="Draw errors over bits.")
]


def compare(
    model: Model,
    calibration: Samples,
    recipes: Annotated[
        str, typer.Option(metavar="NAME,...", help="Recipes or .toml files, comma-separated.")
    ] = RECIPES,
    input_shape: InputShape = None,
    input_value: InputValue = None,
    arch: ArchName = DEFAULT_ARCH,
    table: Csv = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare recipes: error, bits, time to quantize, cycles, energy."""
    source = loading(model, input_shape, input_value)
    _study(source, calibration, names(recipes), arch, (table, plot, as_json))


def ablation(
    model: Model,
    calibration: Samples,
    bits: Annotated[int, typer.Option(help="Of a weight's slot: 2, as in the paper, or 4.")] = 2,
    input_shape: InputShape = None,
    input_value: InputValue = None,
    arch: ArchName = DEFAULT_ARCH,
    table: Csv = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Add MicroScopiQ's ideas one by one, in the order of the paper's Table 7."""
    source = loading(model, input_shape, input_value)
    _study(source, calibration, ablation_recipes(bits), arch, (table, plot, as_json))


def _study(source: dict, calibration: Path, recipes: list, arch: str, wanted: tuple) -> None:
    table, plot, as_json = wanted
    check_names(recipes, arch)
    check_input(calibration)
    check_outputs([table], plot)
    with importing():
        from ..frontend.load import load_model
        from ..study.compare import compare as run_study
        from ..study.plot import write_plot
        from .arrays import read_samples
        from .progress import StageBars
    mod = load_model(**source)
    samples = read_samples(calibration, mod)
    with StageBars() as bars:
        rows = run_study(mod, recipes, samples, arch, bars)
    records = [dataclasses.asdict(row) for row in rows]
    if table is not None:
        write_csv(table, records)
    if plot is not None:
        write_plot(plot, rows)
    if as_json:
        print(json.dumps(records))
    else:
        _print(rows, [table, plot])


def _print(rows: list, written: list[Path | None]) -> None:
    console = new_console()
    print_table(console, Sheet(HEADINGS, [_line(row) for row in rows]))
    console.print(
        "error: squared distance of the outputs from fp32's over those, on samples that calibrated "
        "nothing;\nlayer error: the same of a layer alone, median; agree: largest element where "
        "fp32 has it."
    )
    print_written(console, written)


def _line(row) -> tuple[str, ...]:
    return (
        row.recipe,
        f"{row.relative_error:.3g}",
        f"{100 * row.agreement:.1f}",
        f"{row.bits_per_weight:.2f}",
        "" if row.held_out_error is None else f"{row.held_out_error:.2g}",
        f"{row.quantize_s:.1f}",
        "host" if row.cycles is None else f"{row.cycles:,}",
        "" if row.energy_pj is None else f"{row.energy_pj / 1e6:.4g}",
    )
