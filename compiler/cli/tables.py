"""Tables and lines of the command line, at most 100 columns wide."""

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

MAX_WIDTH = 100
BAR_WIDTH = 12


def new_console() -> Console:
    console = Console(highlight=False, markup=False)
    console.width = min(console.width, MAX_WIDTH) if console.is_terminal else MAX_WIDTH
    return console


def say(console: Console, text: str) -> None:
    console.print(text, style="bold")
    console.print()


def new_table(*headers: str) -> Table:
    """Return a table; columns whose header says what they count are right-aligned."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_header=bool(headers),
    )
    text = (
        *("", "function", "layer", "kind", "format", "operator", "size", "why", "unit", "share"),
        *("component", "part", "source of its area"),
    )
    for header in headers:
        justify = "left" if header in text else "right"
        table.add_column(header, justify=justify, overflow="fold")
    return table


def print_table(console: Console, table: Table, title: str = "") -> None:
    if title:
        console.print(title, style="bold")
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    console.print()


def print_facts(console: Console, rows: list[tuple[str, str, str]], title: str = "") -> None:
    """Print rows of (what, value, note)."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for row in rows:
        table.add_row(*row)
    print_table(console, table, title)
