"""The command `microscopiq area`: what a machine is made of."""

import json
from typing import Annotated

import typer

from ...target.arch import load_arch
from ...target.area import COMPUTE, Part, compute_um2, peaks, to_json
from ...target.area import area as area_of
from ...target.technology import load_technology
from .options import Json, TechnologyName
from .sheet import Sheet
from .tables import BAR_WIDTH, new_console, print_facts, print_table, say


def area(
    arch: Annotated[str, typer.Argument(metavar="ARCH", help="Architecture or a .toml file.")],
    technology: TechnologyName = None,
    as_json: Json = False,
) -> None:
    """Print the area of an architecture by part, with each figure's source."""
    machine = load_arch(arch)
    table = load_technology(technology or machine.technology)
    parts = area_of(machine, table)
    if as_json:
        print(json.dumps(to_json(machine, table, parts)))
    else:
        print_area(machine, table, parts)


def print_area(arch, technology, parts: list[Part]) -> None:
    """Print the area of a machine by part, and what it does on its compute area at most."""
    console = new_console()
    say(console, f"{arch.name} in {technology.name}: {technology.description}")
    whole = sum(part.um2 for part in parts)
    headings = ("component", "part", "count", "um2 each", "um2", "%", "share")
    areas = []
    for part in parts:
        share = part.um2 / whole
        numbers = (f"{part.count:,}", f"{part.entry.value:,g}", f"{part.um2:,.2f}")
        bar = "█" * round(BAR_WIDTH * share)
        areas.append((part.component, part.name, *numbers, f"{100 * share:.1f}", bar))
    print_table(console, Sheet(headings, areas), "Area")
    compute = compute_um2(parts)
    rows = [
        ("Compute", f"{compute / 1e6:.4g} mm2", f"{', '.join(COMPUTE)}"),
        ("All", f"{whole / 1e6:.4g} mm2", ""),
    ]
    for name, peak in peaks(arch, parts).items():
        note = f"{name} at most, {peak['tops']:,.4g} TOPS on the compute area"
        rows.append(("", f"{peak['tops_per_mm2']:,.4g} TOPS/mm2", note))
    print_facts(console, rows)
    sources = {part.name: part.entry.source for part in parts}
    print_table(console, Sheet(("part", "source of its area"), list(sources.items())))
