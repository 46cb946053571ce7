"""A roofline plot of a run: how near each layer comes to what the machine allows.

To the right a layer computes more per byte that it moves off chip; up, it computes more per cycle.
No layer can be above the slope, the bandwidth, nor above the flat line of its weight format, the
array's peak; what multiplies nothing, above the vector unit's lanes. Colours say what the array, or
the vector unit, waited for most. matplotlib is imported when a plot is made.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from ...target.errors import ConfigError, InputError
from ...target.formats import WEIGHT_FORMATS
from ...target.isa.program import Program
from ..results.causes import CAUSES
from ..results.result import RunResult
from ..whole_file import check_folder, whole_file
from .roofline_points import VECTOR, Point, groups, points, short_name

DATES = {".svg": ("Date",), ".png": (), ".pdf": ("CreationDate",)}
"""Kinds of files, with the metadata that would make equal plots different files."""
INSTALL = "pip install 'microscopiq[plot]'"
MARKERS = "osD^vP"
MOST_LABELS = 10
LABEL_STEP = 0.045
LEADER = {"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6, "relpos": (0, 0.5)}
ROOF = "#555555"


def check_plot(path: str | Path) -> None:
    """Raise before a long run if its plot can't be made.

    Raises
    ------
    ConfigError
        For another kind of file, a folder that can't be written, or without matplotlib.
    """
    if Path(path).suffix not in DATES:
        raise ConfigError(f"roofline '{path}': the name must end in {', '.join(DATES)}")
    check_folder(path)
    figure_class()


def figure_class():
    """Return matplotlib's Figure, which draws without a screen."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(f"a roofline needs matplotlib: {INSTALL}") from None
    matplotlib.rcParams["svg.hashsalt"] = "microscopiq"  # equal plots are equal files
    return Figure


def write_roofline(path: str | Path, result: RunResult, program: Program) -> None:
    """Draw the roofline of a run.

    Parameters
    ----------
    path : str or Path
        .svg, .png or .pdf.
    program : Program
        What ran, for the machine's numbers.

    Raises
    ------
    ConfigError
        As `check_plot`.
    InputError
        When no call of the run computes.
    """
    check_plot(path)
    found = points(result, program.arch_numbers["vector_lanes"])
    if not found:
        raise InputError("no roofline: no call of this run computes")
    figure = figure_class()(figsize=(11, 6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _roofs(axes, found, program.arch_numbers["dram_bandwidth_bytes_per_cycle"])
    _scatter(axes, found)
    _labels(axes, groups(found))
    _frame(axes, found, result, program)
    suffix = Path(path).suffix
    with whole_file(path) as file:
        figure.savefig(file, format=suffix[1:], metadata=dict.fromkeys(DATES[suffix]))


def _limits(found: Sequence[Point], bandwidth: int) -> tuple[float, float, float, float]:
    """Return low and high ends of both axes: all points, and the corners of the roofs."""
    corners = [point.peak / bandwidth for point in found if point.peak] if bandwidth else []
    across = [point.intensity for point in found] + corners
    return (
        min(across) / 2,
        max(across) * 2,
        min(point.speed for point in found) / 2,
        max(max(point.peak, point.speed) for point in found) * 2,
    )


def _roofs(axes, found: Sequence[Point], bandwidth: int) -> None:
    left, right, bottom, top = _limits(found, bandwidth)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top))
    flat = {point.weight_format: point.peak for point in found if point.peak}
    names: dict[int, list[str]] = {}
    for name, peak in flat.items():
        names.setdefault(peak, []).append(name)
    for peak, same in names.items():
        start = max(left, peak / bandwidth) if bandwidth else left
        axes.plot([start, right], [peak, peak], color=ROOF, linewidth=1.5, zorder=1)
        text = f"peak, {' and '.join(sorted(same))}: {peak:,}"
        axes.annotate(text, (right, peak), (-4, 3), textcoords="offset points", ha="right",
                      fontsize=8, color=ROOF)  # fmt: skip
    if bandwidth and names:
        end = max(names) / bandwidth
        axes.plot([left, end], [left * bandwidth, end * bandwidth], color=ROOF, linewidth=1.5,
                  zorder=1)  # fmt: skip
        low = max(left, bottom / bandwidth)
        middle = (low * end) ** 0.5
        axes.annotate(f"DRAM: {bandwidth} bytes a cycle", (middle, middle * bandwidth), (-6, 6),
                      textcoords="offset points", ha="right", fontsize=8, color=ROOF)  # fmt: skip


def _scatter(axes, found: Sequence[Point]) -> None:
    longest = max(point.cycles for point in found)
    formats = [
        name for name in (*WEIGHT_FORMATS, VECTOR) if any(p.weight_format == name for p in found)
    ]
    stalls = [key for key in CAUSES if any(p.stall == key for p in found)]
    for point in found:
        axes.scatter(
            point.intensity,
            point.speed,
            s=20 + 160 * point.cycles / longest,
            marker=MARKERS[formats.index(point.weight_format) % len(MARKERS)],
            color=CAUSES[point.stall].color,
            edgecolor="white",
            linewidth=0.6,
            alpha=0.85,
            zorder=3,
        )
    shapes = [
        axes.scatter([], [], s=45, marker=MARKERS[index % len(MARKERS)], color=ROOF, label=name)
        for index, name in enumerate(formats)
    ]
    colors = [
        axes.scatter([], [], s=45, color=CAUSES[key].color, label=CAUSES[key].slice or f"is {key}")
        for key in stalls
    ]
    place = {"loc": "upper left", "fontsize": 8, "title_fontsize": 8, "frameon": False}
    first = axes.legend(handles=shapes, title="weight format", **place)
    axes.add_artist(first)
    axes.legend(handles=colors, title="it most often", bbox_to_anchor=(0.14, 1), **place)


def _labels(axes, grouped: dict[str, list[Point]]) -> None:
    """Write the names beside the plot, level with their points as far as there is room."""
    chosen = [
        (
            short_name(name) if len(same) > 1 else same[0].layer,
            len(same),
            max(same, key=lambda point: point.cycles),
        )
        for name, same in list(grouped.items())[:MOST_LABELS]
    ]
    chosen.sort(key=lambda item: -item[2].speed)
    bottom, top = (math.log(value) for value in axes.get_ylim())
    free = 1.0
    for index, (name, count, point) in enumerate(chosen):
        level = (math.log(point.speed) - bottom) / (top - bottom)
        rest = LABEL_STEP * (len(chosen) - index - 0.5)
        place = min(free, max(level, rest))
        free = place - LABEL_STEP
        axes.annotate(
            f"{name}  ×{count}" if count > 1 else name,
            (point.intensity, point.speed),
            (1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops=LEADER,
            zorder=2,
        )


def _frame(axes, found: Sequence[Point], result: RunResult, program: Program) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    inside = sum(point.cycles for point in found)
    axes.set_xlabel("operations per off-chip byte: multiply-accumulates, or elements")
    axes.set_ylabel("operations per cycle")
    axes.set_title(
        f"{program.arch_name}: {len(found)} calls that compute, "
        f"{100 * inside / result.cycles:.0f} % of {result.cycles:,} cycles; "
        f"utilisation {100 * result.utilisation:.1f} %",
        fontsize=10,
        loc="left",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _position: f"{value:,g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="#e5e5e5", linewidth=0.6, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
