"""What a run cost, as the command line prints it: totals, units, energy."""

from rich.console import Console

from ...runtime.results.host import COUNTED
from ...target.isa.program import Program
from .quantities import bytes_text, energy_text, percent, time_text
from .sheet import Sheet
from .tables import BAR_WIDTH, print_table
from .units import TITLE, unit_sheet

MOST_FUNCTIONS = 12
"""Of the host, that are printed one by one."""


def cost_rows(run, program: Program, images: int = 0) -> list[tuple[str, str, str]]:
    """Return what a run cost, and per image if there are images."""
    clock = program.arch_numbers["clock_mhz"]
    per_image = f"{run.cycles / images:,.0f} per image" if images else ""
    time_per_image = f"{time_text(run.seconds / images)} per image, " if images else ""
    read, written = (bytes_text(run.bytes_moved[way]) for way in ("read", "written"))
    moved = bytes_text(sum(run.bytes_moved.values()))
    energy = sum(run.energy_pj.values())
    watts = energy * 1e-12 / run.seconds if run.seconds else 0.0
    each = f"{energy / run.macs:.3g} pJ per multiply-accumulate, " if run.macs else ""
    return [
        latency_row(run, images),
        ("Cycles", f"{run.cycles:,}", per_image),
        ("Time", time_text(run.seconds), f"{time_per_image}at {clock:,} MHz"),
        ("Utilisation", percent(run.macs, run.macs / run.utilisation if run.utilisation else 0),
         f"of peak, for {run.macs:,} multiply-accumulates"),
        ("Traffic", moved, f"off chip: {read} read, {written} written"),
        ("Energy", energy_text(energy), f"{each}{watts:.3g} W on average, dynamic"),
    ]  # fmt: skip


def latency_row(run, images: int = 0) -> tuple[str, str, str]:
    """Return what the whole model takes, and each side's share of it."""
    whole = run.latency_seconds
    parts = (
        ("machine", run.seconds),
        ("host", run.host_seconds),
        (f"{run.handovers:,} hand-overs", run.handover_seconds),
    )
    shares = ", ".join(f"{name} {share(part, whole)} %" for name, part in parts)
    per_image = f"{time_text(whole / images)} per image: " if images else ""
    return ("Latency", time_text(whole), f"{per_image}{shares}")


def share(part: float, whole: float) -> str:
    """Return a part in percent, to a tenth."""
    return f"{100 * part / whole if whole else 0.0:.1f}"


def print_host_calls(console: Console, run) -> None:
    """Print what the host ran, the functions that took it longest."""
    if not run.host_calls:
        return
    shown, others = run.host_calls[:MOST_FUNCTIONS], run.host_calls[MOST_FUNCTIONS:]
    rows = [
        (
            row["name"],
            f"{row['calls']:,}",
            f"{row['operations']:,}" if row["counted"] == COUNTED[0] else "not known",
            bytes_text(row["bytes"]),
            time_text(row["seconds"]),
            share(row["seconds"], run.latency_seconds),
        )
        for row in shown
    ]
    if others:
        calls = sum(row["calls"] for row in others)
        seconds = sum(row["seconds"] for row in others)
        name = f"{len(others):,} others"
        rows.append(
            (name, f"{calls:,}", "", "", time_text(seconds), share(seconds, run.latency_seconds))
        )
    headings = ("function", "calls", "operations", "bytes", "time", "%")
    print_table(console, Sheet(headings, rows), "On the host, in percent of the latency")


def print_units(console: Console, run) -> None:
    """Print where each unit's cycles went."""
    print_table(console, unit_sheet(run.unit_cycles), TITLE)


def print_energy(console: Console, run) -> None:
    """Print the dynamic energy by component."""
    whole = sum(run.energy_pj.values())
    rows = []
    for component, value in run.energy_pj.items():
        bar = "█" * round(BAR_WIDTH * value / whole) if whole else ""
        rows.append((component, energy_text(value), share(value, whole), bar))
    sheet = Sheet(("component", "energy", "%", "share"), rows)
    print_table(console, sheet, "Energy by component, dynamic")
