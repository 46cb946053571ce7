"""The command `microscopiq inspect`: the instructions of a compiled model."""

from collections.abc import Mapping
from typing import Annotated

import typer

from ...runtime.session import Session, check_program_file, load_executable, program_of
from ...target.isa.program import Program, part_code
from .interrupts import importing
from .options import Library
from .sheet import Sheet
from .sizes import code_bytes
from .tables import new_console, print_table


def inspect(
    library: Library,
    function: Annotated[
        str | None,
        typer.Option(
            metavar="F", help="Only this function of the program, or this operator of one."
        ),
    ] = None,
) -> None:
    """Print a compiled model's functions and their instructions."""
    check_program_file(library)
    with importing():
        from ..api import disassemble
    module = load_executable(library)
    listing = disassemble(module, function)
    program = program_of(module)
    assert program is not None  # there is a listing of it
    print_functions(program, function)
    print_sizes(Session(module).sizes())
    print(listing, end="")


def print_sizes(table: Mapping[str, Mapping] | None) -> None:
    """Print the sizes that a call decides, with their bounds and where they are."""
    if table is None:
        return
    rows = []
    for name, (least, most) in table["bounds"].items():
        places = [
            f"dimension {axis} of '{given}'"
            for given, extents in table["inputs"].items()
            for axis, extent in enumerate(extents)
            if extent == name
        ]
        rows.append((name, f"{least:,}", f"{most:,}", ", ".join(places)))
    print_table(new_console(), Sheet(("size", "least", "largest", "told by"), rows))


def print_functions(program: Program, only: str | None) -> None:
    """Print a table of a program's functions and their operators, or of one."""
    rows = []
    for name, function in program.functions.items():
        if only in (None, name):
            sizes = (function.macs, code_bytes(function), len(function.weights))
            rows.append((name, function.layer, *(f"{size:,}" for size in sizes)))
        for part in function.parts:
            if only in (None, name, part.name):
                code = [function.code[at] for at in part_code(function, part.name)]
                size = sum(len(instruction.encode()) for instruction in code)
                rows.append((f"  {part.name}", part.layer, f"{part.macs:,}", f"{size:,}", ""))
    headings = ("function", "layer", "MACs", "code bytes", "weight bytes")
    print_table(new_console(), Sheet(headings, rows))
