"""What a run cost, as the command line prints it: totals, units, energy."""

from rich.console import Console

from ...target.isa.program import Program
from .quantities import bytes_text, energy_text, percent, time_text
from .sheet import Sheet
from .tables import BAR_WIDTH, print_table
from .units import TITLE, unit_sheet


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
        ("Cycles", f"{run.cycles:,}", per_image),
        ("Time", time_text(run.seconds), f"{time_per_image}at {clock:,} MHz"),
        ("Utilisation", percent(run.macs, run.macs / run.utilisation if run.utilisation else 0),
         f"of peak, for {run.macs:,} multiply-accumulates"),
        ("Traffic", moved, f"off chip: {read} read, {written} written"),
        ("Energy", energy_text(energy), f"{each}{watts:.3g} W on average, dynamic"),
    ]  # fmt: skip


def print_units(console: Console, run) -> None:
    """Print where each unit's cycles went."""
    print_table(console, unit_sheet(run.unit_cycles), TITLE)


def print_energy(console: Console, run) -> None:
    """Print the dynamic energy by component."""
    whole = sum(run.energy_pj.values())
    rows = []
    for component, value in run.energy_pj.items():
        share = value / whole if whole else 0.0
        bar = "█" * round(BAR_WIDTH * share)
        rows.append((component, energy_text(value), f"{100 * share:.1f}", bar))
    sheet = Sheet(("component", "energy", "%", "share"), rows)
    print_table(console, sheet, "Energy by component, dynamic")
