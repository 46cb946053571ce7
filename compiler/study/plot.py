"""Plots of studies: error over bits by recipe; energy over latency and area by machine."""

from collections.abc import Sequence
from pathlib import Path

from ...runtime.roofline import DATES, figure_class
from ...runtime.whole_file import whole_file
from .compare import Row
from .dse import Row as DseRow

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
    _save(figure, path)


def write_pareto(path: str | Path, rows: Sequence[DseRow]) -> None:
    """Draw energy over latency, area as colour; the points that no other beats are named.

    Points that failed aren't drawn.
    """
    good = [row for row in rows if not row.error]
    figure = figure_class()(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    seconds = [1e6 * (row.seconds or 0.0) for row in good]
    energy = [(row.energy_pj or 0.0) / 1e6 for row in good]
    edges = ["black" if row.pareto else "none" for row in good]
    dots = axes.scatter(
        seconds, energy, c=[row.area_mm2 for row in good], s=45, edgecolors=edges, cmap="viridis"
    )
    figure.colorbar(dots, label="area in mm\N{SUPERSCRIPT TWO}")
    for row, x, y in zip(good, seconds, energy, strict=True):
        if row.pareto:
            offset = {"xytext": (5, 4), "textcoords": "offset points"}
            axes.annotate(row.point.name, (x, y), fontsize=6, **offset)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("latency in \N{MICRO SIGN}s")
    axes.set_ylabel("dynamic energy in \N{MICRO SIGN}J")
    axes.grid(True, which="both", linewidth=0.3)
    axes.margins(x=0.2)
    _save(figure, path)


def _save(figure, path: str | Path) -> None:
    kind = Path(path).suffix
    with whole_file(path) as file:
        metadata = dict.fromkeys(DATES[kind])
        figure.savefig(file, format=kind[1:], metadata=metadata)
