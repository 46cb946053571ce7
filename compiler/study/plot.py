"""Plots of studies: error over bits by recipe or format; energy over latency by machine."""

from collections.abc import Sequence
from pathlib import Path

from ...runtime.reports.roofline import DATES, figure_class
from ...runtime.whole_file import whole_file
from .compare import Row
from .dse import Row as DseRow
from .formats import Row as FormatRow
from .points import short_name

SIZE = (7.0, 4.5)
PARETO_SIZE = (8.0, 6.5)
MOST_NAMED = 16
TWO_COLUMNS = 75
"""Characters of a name that there is no room for two of."""


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


def write_front(path: str | Path, rows: Sequence[FormatRow]) -> None:
    """Draw errors over bits by format, a machine's in one colour, and the front as a line."""
    figure = figure_class()(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for number, arch in enumerate(dict.fromkeys(row.arch for row in rows)):
        own = [row for row in rows if row.arch == arch]
        bits = [row.bits_per_weight for row in own]
        axes.plot(
            bits, [row.relative_error for row in own], "os^Dv"[number % 5], color=f"C{number}",
            label=f"{arch}, {own[0].area_mm2:.4f} mm\N{SUPERSCRIPT TWO}",
        )  # fmt: skip
    front = sorted((row.bits_per_weight, row.relative_error) for row in rows if row.front)
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=0.8, zorder=0, label="front")
    offset = {"xytext": (4, 3), "textcoords": "offset points"}
    for row in rows:
        place = (row.bits_per_weight, row.relative_error)
        axes.annotate(row.format, place, fontsize=6, **offset)
    axes.set_yscale("log")
    axes.set_xlabel("bits per weight, scales and outliers included")
    axes.set_ylabel("squared error of the outputs over fp32's")
    axes.grid(True, which="both", linewidth=0.3)
    axes.margins(x=0.1)
    axes.legend(fontsize=6)
    _save(figure, path)


def write_pareto(path: str | Path, rows: Sequence[DseRow]) -> None:
    """Draw energy over latency, area as colour; below are the points that no other beats.

    Points that failed aren't drawn.
    """
    good = [row for row in rows if not row.error]
    best = sorted((row for row in good if row.pareto), key=lambda row: row.seconds or 0.0)
    figure = figure_class()(figsize=PARETO_SIZE, layout="constrained")
    axes = figure.add_subplot()
    for some, style in ((good, {"s": 30}), (best, {"s": 55, "edgecolors": "black"})):
        dots = axes.scatter(
            *_places(some),
            c=[row.area_mm2 for row in some],
            vmin=min(row.area_mm2 or 0.0 for row in good),
            vmax=max(row.area_mm2 or 0.0 for row in good),
            **style,
        )
    figure.colorbar(dots, label="area in mm\N{SUPERSCRIPT TWO}")
    named, every = best[:MOST_NAMED], [row.point for row in good]
    for number, place in enumerate(zip(*_places(named), strict=True), start=1):
        axes.annotate(str(number), place, (5, 4), textcoords="offset points", fontsize=7)
    lines = [
        axes.plot([], [], linestyle="none", label=f"{number}: {short_name(row.point, every)}")[0]
        for number, row in enumerate(named, start=1)
    ]
    if len(named) < len(best):
        lines += axes.plot([], [], linestyle="none", label=f"and {len(best) - len(named)} more")
    columns = 2 if max(len(line.get_label()) for line in lines) < TWO_COLUMNS else 1
    figure.legend(
        handles=lines, loc="outside lower left", ncols=columns, fontsize=6, handlelength=0
    )
    axes.set_xscale("log")
    axes.set_xlabel("latency in \N{MICRO SIGN}s")
    axes.set_ylabel("dynamic energy in \N{MICRO SIGN}J")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.tick_params(which="both", labelsize=7)
    axes.grid(True, which="both", linewidth=0.3)
    _save(figure, path)


def _places(rows: Sequence[DseRow]) -> tuple[list[float], list[float]]:
    """Return latencies in microseconds and energies in microjoules."""
    return [1e6 * (row.seconds or 0.0) for row in rows], [
        (row.energy_pj or 0.0) / 1e6 for row in rows
    ]


def _save(figure, path: str | Path) -> None:
    kind = Path(path).suffix
    with whole_file(path) as file:
        metadata = dict.fromkeys(DATES[kind])
        figure.savefig(file, format=kind[1:], metadata=metadata)
