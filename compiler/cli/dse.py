"""The command `microscopiq study dse`: one model on many machines."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ...target.arch import DEFAULT_ARCH
from ...target.errors import ConfigError
from ..quant.recipe import DEFAULT_RECIPE
from ..study.points import check_jobs, points, short_keys
from .checks import check_names, check_outputs
from .inputs import InputShape, InputValue, loading
from .interrupts import importing
from .options import ArchName, Json, TechnologyName
from .rows import Csv, Model, names, write_csv
from .sheet import Sheet
from .tables import new_console, print_table, print_written


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
    input_shape: InputShape = None,
    input_value: InputValue = None,
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
    source = loading(model, input_shape, input_value)
    check_names(arch=arch, technology=technology)
    check_jobs(jobs)
    check_outputs([table], plot)
    chosen = points(names(recipes), dict(_values(text) for text in _once(sweep)))
    with importing():
        from ..frontend.load import load_model
        from ..study.dse import explore
        from ..study.plot import write_pareto
        from .progress import StageBars
    with StageBars() as bars:
        rows = explore(load_model(**source), chosen, arch, technology, jobs, bars)
    records = [row.to_record() for row in rows]
    if table is not None:
        write_csv(table, records)
    if plot is not None and any(not row.error for row in rows):
        write_pareto(plot, rows)
    if as_json:
        print(json.dumps(records))
    else:
        _print_points(rows, [table, plot])
    if all(row.error for row in rows):
        raise ConfigError(f"none of {len(rows)} points could be measured; the first: "
                          f"{rows[0].point.name}: {rows[0].error}")  # fmt: skip


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


def _print_points(rows: list, written: list[Path | None]) -> None:
    console = new_console()
    good = sorted((row for row in rows if not row.error), key=lambda row: row.seconds)
    if good:
        print_table(console, _sheet(good))
        console.print(
            "best: no other point is as good in latency, energy and area and better in one."
        )
    for row in rows:
        if row.error:
            console.print(f"failed: {row.point.name}: {row.error}", soft_wrap=True)
    print_written(console, written)


def _sheet(rows: list) -> Sheet:
    keys = list(short_keys(rows[0].point))
    words = [key.replace("_", " ") for key in keys]
    headings = ("recipe", *words, "cycles", "us", "uJ", "mm2", "util. %", "best")
    return Sheet(
        headings,
        [
            (
                row.point.recipe,
                *(short_keys(row.point)[key] for key in keys),
                f"{row.cycles:,}",
                f"{1e6 * row.seconds:.4g}",
                f"{row.energy_pj / 1e6:.4g}",
                f"{row.area_mm2:.4g}",
                f"{100 * row.utilisation:.1f}",
                "yes" if row.pareto else "",
            )
            for row in rows
        ],
    )
