"""The command `microscopiq study`: recipes, their steps, or machines compared on a model."""

import csv
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ...target.arch import DEFAULT_ARCH
from ...target.errors import ConfigError
from ..quant.recipe import DEFAULT_RECIPE
from .options import ArchName, Json, TechnologyName

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

RECIPES = (
    "rtn-w4a16,gptq-w4a16,awq-w4a16,microscopiq-w4a16,"
    "int4,gptq-w4a8,microscopiq-w4a8,smoothquant-w8a8"
)
Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Model to study.")]
Samples = Annotated[
    Path,
    typer.Option(
        "--calibration",
        metavar="X.npz",
        help="Inputs by name, samples along the first dimension; every fourth measures.",
    ),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="F.csv", help="Write the rows.")]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="F.svg", help="Draw errors over bits.")
]


@app.command()
def compare(
    model: Model,
    calibration: Samples,
    recipes: Annotated[
        str, typer.Option(metavar="NAME,...", help="Recipes or .toml files, comma-separated.")
    ] = RECIPES,
    arch: ArchName = DEFAULT_ARCH,
    table: Csv = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare recipes: error, bits, time to quantize, cycles, energy."""
    _study(model, calibration, _names(recipes), arch,
           (table, plot, as_json))  # fmt: skip


@app.command()
def ablation(
    model: Model,
    calibration: Samples,
    bits: Annotated[int, typer.Option(help="Of a weight's slot: 2, as in the paper, or 4.")] = 2,
    arch: ArchName = DEFAULT_ARCH,
    table: Csv = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Add MicroScopiQ's ideas one by one, in the order of the paper's Table 7."""
    from ..study.ablation import ablation_recipes

    _study(model, calibration, ablation_recipes(bits), arch, (table, plot, as_json))


@app.command()
def dse(
    model: Model,
    sweep: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=N,...",
            help="Values of an architecture's key; 'array' is rows and columns. May be repeated.",
        ),
    ],
    recipes: Annotated[
        str, typer.Option(metavar="NAME,...", help="Recipes or .toml files, comma-separated.")
    ] = DEFAULT_RECIPE,
    arch: ArchName = DEFAULT_ARCH,
    technology: TechnologyName = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time.")] = os.cpu_count() or 1,
    table: Csv = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.svg", help="Draw energy over latency.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explore machines: latency, energy and area of every combination, timing only."""
    from ...runtime.reports.roofline import check_plot
    from ...runtime.whole_file import check_folder
    from ..study.dse import explore, points
    from ..study.plot import write_pareto
    from .progress import StageBars

    if table is not None:
        check_folder(table)
    if plot is not None:
        check_plot(plot)
    chosen = points(_names(recipes), dict(_values(text) for text in _once(sweep)))
    with StageBars() as bars:
        rows = explore(model, chosen, arch, technology, jobs, bars)
    records = [row.to_record() for row in rows]
    if table is not None:
        _write_csv(table, records)
    if plot is not None and any(not row.error for row in rows):
        write_pareto(plot, rows)
    if as_json:
        print(json.dumps(records))
    else:
        _print_points(rows, [path for path in (table, plot) if path is not None])
    if all(row.error for row in rows):
        raise ConfigError(f"none of {len(rows)} points could be measured; the first: "
                          f"{rows[0].point.name}: {rows[0].error}")  # fmt: skip


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _once(sweep: list[str]) -> list[str]:
    keys = [text.partition("=")[0].strip() for text in sweep]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ConfigError(f"--sweep names {', '.join(twice)} twice; give all values at once")
    return sweep


def _values(text: str) -> tuple[str, list[int]]:
    key, _, values = text.partition("=")
    try:
        return key.strip(), [int(value) for value in values.split(",")]
    except ValueError:
        raise ConfigError(
            f"--sweep {text}; allowed: KEY=N,... with integers, such as recon_units=1,2,4"
        ) from None


def _print_points(rows: list, written: list[Path]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ..study.dse import short_keys

    good = sorted((row for row in rows if not row.error), key=lambda row: row.seconds)
    table = Table(box=box.SIMPLE, padding=(0, 1))
    table.add_column("recipe", no_wrap=True)
    keys = list(short_keys(rows[0].point))
    for key in keys:
        words = key.replace("_", " ")
        table.add_column(words, justify="right", min_width=max(map(len, words.split())))
    for heading in ("cycles", "us", "uJ", "mm2", "util. %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("best", no_wrap=True)
    for row in good:
        table.add_row(
            row.point.recipe,
            *(short_keys(row.point)[key] for key in keys),
            f"{row.cycles:,}",
            f"{1e6 * row.seconds:.4g}",
            f"{row.energy_pj / 1e6:.4g}",
            f"{row.area_mm2:.4g}",
            f"{100 * row.utilisation:.1f}",
            "yes" if row.pareto else "",
        )
    console = Console(width=110, highlight=False)
    if good:
        console.print(table)
        console.print(
            "best: no other point is as good in latency, energy and area and better in one."
        )
    for row in rows:
        if row.error:
            console.print(f"failed: {row.point.name}: {row.error}", soft_wrap=True)
    for path in written:
        print(f"Wrote {path}")


def _write_csv(path: Path, records: list[dict]) -> None:
    from ..driver import write_file

    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_file(path, text.getvalue())


def _study(model: Path, calibration: Path, recipes: list, arch: str, wanted: tuple) -> None:
    from ...runtime.reports.roofline import check_plot
    from ...runtime.whole_file import check_folder
    from ..driver import load_model
    from ..study.compare import compare as run_study
    from ..study.plot import write_plot
    from .arrays import read_samples
    from .progress import StageBars

    table, plot, as_json = wanted
    if table is not None:
        check_folder(table)
    if plot is not None:
        check_plot(plot)
    mod = load_model(model)
    samples = read_samples(calibration, mod)
    with StageBars() as bars:
        rows = run_study(mod, recipes, samples, arch, bars)
    records = [dataclasses.asdict(row) for row in rows]
    if table is not None:
        _write_csv(table, records)
    if plot is not None:
        write_plot(plot, rows)
    if as_json:
        print(json.dumps(records))
    else:
        _print(rows, [path for path in (table, plot) if path is not None])


def _print(rows: list, written: list[Path]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1))
    table.add_column("recipe", no_wrap=True)
    for heading in ("error", "agree %", "bits", "layer error", "quantize s", "cycles", "energy uJ"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.recipe,
            f"{row.relative_error:.3g}",
            f"{100 * row.agreement:.1f}",
            f"{row.bits_per_weight:.2f}",
            "" if row.held_out_error is None else f"{row.held_out_error:.2g}",
            f"{row.quantize_s:.1f}",
            "host" if row.cycles is None else f"{row.cycles:,}",
            "" if row.energy_pj is None else f"{row.energy_pj / 1e6:.4g}",
        )
    console = Console(width=110, highlight=False)
    console.print(table)
    console.print(
        "error: squared distance of the outputs from fp32's over those, on samples that calibrated "
        "nothing;\nlayer error: the same of a layer alone, median; agree: largest element where "
        "fp32 has it."
    )
    for path in written:
        print(f"Wrote {path}")
