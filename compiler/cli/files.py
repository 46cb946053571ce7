"""Files that `microscopiq run` writes beside its summary: timeline, table, roofline."""

from pathlib import Path
from typing import Annotated

import typer

Trace = Annotated[
    Path | None,
    typer.Option("--trace", metavar="T.json", help="Write a timeline for Perfetto (.json, .gz)."),
]
Layers = Annotated[
    Path | None,
    typer.Option("--csv", metavar="L.csv", help="Write a row per call: cycles, stalls, traffic."),
]
Roofline = Annotated[
    Path | None,
    typer.Option("--roofline", metavar="R.svg", help="Draw the roofline (.svg, .png, .pdf)."),
]


def check_paths(layers: Path | None, roofline: Path | None) -> None:
    """Raise before a long run if one of its files can't be made."""
    from ...runtime.reports.roofline import check_plot
    from ...runtime.whole_file import check_folder

    if layers is not None:
        check_folder(layers)
    if roofline is not None:
        check_plot(roofline)


def write_reports(result, program, layers: Path | None, roofline: Path | None) -> None:
    """Write the files that were asked for."""
    from ...runtime.reports.layer_table import write_layers
    from ...runtime.reports.roofline import write_roofline

    if layers is not None:
        write_layers(layers, result)
    if roofline is not None:
        write_roofline(roofline, result, program)
