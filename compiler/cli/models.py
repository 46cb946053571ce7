"""The command `microscopiq study models`: what people use, through the whole path."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...runtime.whole_file import write_file
from ...target.arch import DEFAULT_ARCH
from ...target.errors import ConfigError
from .checks import check_names, check_outputs
from .interrupts import leaving
from .options import ArchName, Json, Recipe
from .rows import names
from .sheet import Sheet
from .tables import new_console, print_table, print_written


def models(
    only: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Rows of these models alone.")
    ] = None,
    onnx_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A row for each .onnx file in a folder, too.")
    ] = None,
    form: Annotated[
        str | None, typer.Option(metavar="FORM", help="Rows from torch, onnx, or file alone.")
    ] = None,
    recipe: Recipe = "int8",
    arch: ArchName = DEFAULT_ARCH,
    vector: Annotated[
        bool,
        typer.Option("--vector/--no-vector", help="Run what the vector unit can of the rest too."),
    ] = True,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="F.md", help="Write the table as a page.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Try models: does each import, build, equal LLVM; how much of it is on the array."""
    check_names([recipe] if recipe else [], arch)
    check_outputs([page])
    if onnx_dir is not None and not onnx_dir.is_dir():
        raise ConfigError(f"--onnx-dir {onnx_dir}: no such folder")
    with leaving():
        from ..options import Options
        from ..study.models.run import measure
        from ..study.models.sources import sources
        from ..study.models.table import page as page_text
        from .progress import StageBars
    chosen = sources(names(only) if only else None, onnx_dir, form)
    options, rows = Options(recipe=recipe, arch=arch, vector=vector), []
    with StageBars() as bars:
        for number, source in enumerate(chosen):
            bars("models", number, len(chosen), f"{source.name} ({source.form})")
            rows.append(measure(source, options))
    if page is not None:
        given = (("--only", only), ("--onnx-dir", onnx_dir and "DIR"), ("--form", form))
        asked = "".join(f" {option} '{value}'" for option, value in given if value)
        asked += " --no-vector" * (not vector)
        command = f"microscopiq study models{asked} --page {page}"
        write_file(page, page_text(rows, command, str(recipe), str(arch)))
    if as_json:
        print(json.dumps([row.to_record() for row in rows]))
    else:
        _print(rows, page)


def _print(rows: list, page: Path | None) -> None:
    from ..study.models.table import HEADINGS, cells

    console = new_console()
    print_table(console, Sheet(HEADINGS, [cells(row) for row in rows]))
    for row in rows:
        if row.stage:
            console.print(f"{row.name} ({row.form}): {row.stage}: {row.error}", soft_wrap=True)
    print_written(console, [page])
