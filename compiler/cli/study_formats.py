"""The command `microscopiq study formats`: weight formats side by side on a model."""

import dataclasses
import json
from typing import Annotated

import typer

from ...target.arch import DEFAULT_ARCH
from ...target.errors import ConfigError, unknown_name
from ...target.formats import ACTIVATION_FORMATS, DEFAULT_ACTIVATION
from .checks import check_input, check_names, check_outputs
from .inputs import InputShape, InputValue, loading
from .interrupts import importing
from .options import Json
from .rows import Csv, Model, names, write_csv
from .sheet import Sheet
from .study import Plot, Samples
from .tables import new_console, print_table, print_written

ARCHS = f"int4-64x64,int8-64x64,fineq-64x64,olive-64x64,{DEFAULT_ARCH}"
HEADINGS = [
    "format", "front", "bits", "error", "agree %", "crest", "QSNR dB", "formula", "cycles",
    "energy uJ", "mm2", "machine",
]  # fmt: skip


def formats(
    model: Model,
    calibration: Samples,
    formats: Annotated[
        str, typer.Option(metavar="NAME,...", help="Weight formats; all if none is named.")
    ] = "",
    compensate: Annotated[
        bool, typer.Option("--compensate", help="Make errors good with the samples.")
    ] = False,
    activation: Annotated[
        str, typer.Option(metavar="NAME", help="Format of activations.")
    ] = DEFAULT_ACTIVATION,
    input_shape: InputShape = None,
    input_value: InputValue = None,
    arch: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="Machines: a format gets the smallest that can."),
    ] = ARCHS,
    table: Csv = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare weight formats: error, bits, crest factor, noise, cycles, energy, area; the front."""
    source = loading(model, input_shape, input_value)
    for name in names(arch):
        check_names(arch=name)
    check_activation(activation)
    check_input(calibration)
    check_outputs([table], plot)
    with importing():
        from ..frontend.load import load_model
        from ..study.formats import machines_of, study_formats
        from ..study.plot import write_front
        from .arrays import read_samples
        from .progress import StageBars
    chosen = names(formats) if formats else []
    machines_of(chosen, names(arch), activation)
    mod = load_model(**source)
    samples = read_samples(calibration, mod)
    with StageBars() as bars:
        rows = study_formats(mod, chosen, samples, names(arch), compensate, activation, bars)
    records = [dataclasses.asdict(row) for row in rows]
    if table is not None:
        write_csv(table, records)
    if plot is not None:
        write_front(plot, rows)
    if as_json:
        print(json.dumps(records))
        return
    console = new_console()
    print_table(console, Sheet(HEADINGS, [_line(row) for row in rows]))
    console.print(
        "error: squared distance of the outputs from fp32's over those, on samples that calibrated "
        "nothing;\ncrest: largest of a block of weights over its root mean square, upper quartile; "
        "QSNR: of weights\nrounded without data, mean over layers; formula: INT vs FP's; front: "
        "nothing has fewer bits and less error."
    )
    print_written(console, [table, plot])


def check_activation(name: str) -> None:
    """Raise ConfigError for activations that the array doesn't take whatever their sign."""
    allowed = [key for key, row in ACTIVATION_FORMATS.items() if row.signed]
    if name not in allowed:
        raise ConfigError(unknown_name("activation format", name, allowed))


def _line(row) -> tuple[str, ...]:
    return (
        row.format,
        "*" if row.front else "",
        f"{row.bits_per_weight:.2f}",
        f"{row.relative_error:.3g}",
        f"{100 * row.agreement:.1f}",
        f"{row.crest_factor:.2f}",
        f"{row.qsnr_db:.1f}",
        "" if row.formula_db is None else f"{row.formula_db:.1f}",
        "host" if row.cycles is None else f"{row.cycles:,}",
        "" if row.energy_pj is None else f"{row.energy_pj / 1e6:.4g}",
        f"{row.area_mm2:.4f}",
        row.arch,
    )
