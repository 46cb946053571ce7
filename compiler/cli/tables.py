"""Lines and tables of the command line, at most 100 columns wide."""

import os
import textwrap
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from .sheet import Sheet, tables

MAX_WIDTH = 100
INDENT = 2
BAR_WIDTH = 12


def new_console() -> Console:
    """Return what prints on stdout: as wide as the terminal or COLUMNS says, and not wider."""
    console = Console(highlight=False, markup=False)
    known = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    console.width = min(console.width, MAX_WIDTH) if known else MAX_WIDTH
    return console


def say(console: Console, text: str) -> None:
    """Print a sentence that leads what follows."""
    # Folded between words only: a path stays whole.
    fold = textwrap.TextWrapper(console.width, break_long_words=False, break_on_hyphens=False)
    console.print(fold.fill(text), style="bold", soft_wrap=True)
    console.print()


def print_table(console: Console, sheet: Sheet, title: str = "") -> None:
    """Print a table, or several where one is too wide."""
    if title:
        console.print(title, style="bold")
    for table in tables(sheet, console.width - INDENT):
        console.print(Padding(table, (0, 0, 0, INDENT), expand=False))
        console.print()


def print_facts(console: Console, rows: list[tuple[str, str, str]], title: str = "") -> None:
    """Print rows of (what, value, note); only notes are folded."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for column, justify in enumerate(("left", "right")):
        least = max(len(row[column]) for row in rows)
        table.add_column(justify=justify, no_wrap=True, min_width=least)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    if title:
        console.print(title, style="bold")
    console.print(Padding(table, (0, 0, 0, INDENT), expand=False))
    console.print()


def print_written(console: Console, files: list[Path | None]) -> None:
    """Name the files that were written, None for one that wasn't; paths stay on one line."""
    for file in files:
        if file is not None:
            console.print(f"Wrote {file}", soft_wrap=True)
