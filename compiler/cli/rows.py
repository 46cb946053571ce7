"""Rows of a study: the options that name its model and its files, and their table as a file."""

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from ...runtime.whole_file import write_file

Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Model to study.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="F.csv", help="Write the rows.")]


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def write_csv(path: Path, records: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_file(path, text.getvalue())
