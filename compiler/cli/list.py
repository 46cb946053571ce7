"""The command `microscopiq list`: what has a name."""

import enum
from typing import Annotated

import typer

from ...target.arch import arch_names, load_arch
from ...target.formats import WEIGHT_FORMATS
from ...target.technology import load_technology, technology_names
from ..quant.recipe import load_recipe, recipe_names
from .interrupts import importing
from .sheet import Sheet, tables
from .tables import new_console

LISTINGS = ("recipes", "formats", "archs", "technologies", "passes")
Listing = enum.Enum("Listing", {name: name for name in LISTINGS})


def list_command(
    what: Annotated[Listing, typer.Argument(metavar="|".join(LISTINGS), help="What to list.")],
) -> None:
    """List recipes, weight formats, architectures, technologies or compilation passes."""
    print_listing(what.value)


def print_listing(what: str) -> None:
    """Print the recipes, formats, archs, technologies or passes that there are, a line each."""
    if what == "recipes":
        rows = [(name, load_recipe(name).description) for name in recipe_names()]
    elif what == "archs":
        rows = [(name, load_arch(name).description) for name in arch_names()]
    elif what == "technologies":
        rows = [(name, load_technology(name).description) for name in technology_names()]
    elif what == "formats":
        rows = [(row.name, row.description) for row in WEIGHT_FORMATS.values()]
    else:
        with importing():
            from ..driver import RUN

        rows = [(name, stage.__doc__ or "") for name, stage in RUN.items()]
    console = new_console()
    for table in tables(Sheet(("", ""), rows), console.width):
        console.print(table)
