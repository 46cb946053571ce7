"""A plot of a study: error over bits, one point per recipe."""

from collections.abc import Sequence
from pathlib import Path

from ...runtime.roofline import DATES, figure_class
from ...runtime.whole_file import whole_file
from .compare import Row

SIZE = (7.0, 4.5)


def write_plot(path: str | Path, rows: Sequence[Row]) -> None:
    """Write the plot; `runtime.roofline.check_plot` tells beforehand whether that's possible."""
    figure = figure_class()(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        colour = f"C{number % 10}"
        axes.plot(row.bits_per_weight, row.relative_error, "os^Dv"[number % 5], color=colour)
        place = (row.bits_per_weight, row.relative_error)
        offset = {"xytext": (5, 4), "textcoords": "offset points"}
        axes.annotate(row.recipe, place, fontsize=7, color=colour, **offset)
    axes.set_yscale("log")
    axes.set_xlabel("bits per weight, scales and outliers included")
    axes.set_ylabel("squared error of the outputs over fp32's")
    axes.grid(True, which="both", linewidth=0.3)
    axes.margins(x=0.15)
    kind = Path(path).suffix
    with whole_file(path) as file:
        metadata = dict.fromkeys(DATES[kind])
        figure.savefig(file, format=kind[1:], metadata=metadata)
