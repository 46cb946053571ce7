"""Tables that fit a terminal without breaking a number in two.

Where a table is too wide, bars are left out, texts are folded and headings wrapped; and if that
isn't enough, its columns stand in several tables below each other, rows named in each.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.table import Table

GAP, NARROW_GAP = 2, 1
"""Characters between columns, and where there is little room."""
LEAST_TEXT = 16
"""Characters that a text is folded to at most."""


class Kind(enum.Enum):
    """What a column holds: numbers end below each other and stay whole, texts may be folded."""

    NUMBER = "number"
    WHOLE = "text that stays whole"
    TEXT = "text"
    BAR = "bar"


KINDS = {
    **dict.fromkeys(("", "function", "layer", "kind", "format", "operator", "why"), Kind.TEXT),
    **dict.fromkeys(
        ("component", "part", "source of its area", "recipe", "stops", "told by"), Kind.TEXT
    ),
    **dict.fromkeys(("size", "unit", "M x N x K", "best"), Kind.WHOLE),
    "share": Kind.BAR,
}
"""By heading; all others are numbers."""


@dataclass(frozen=True)
class Sheet:
    """Headings, rows below them and, for sums, a last row."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] = ()

    def cells(self, column: int) -> list[str]:
        """Return what stands below a heading."""
        return [row[column] for row in (*self.rows, *([self.footer] if self.footer else []))]

    def kind(self, column: int) -> Kind:
        """Return what a column holds."""
        return KINDS.get(self.headings[column], Kind.NUMBER)

    def natural(self, column: int) -> int:
        """Return the width of a column that wraps nothing."""
        return max(map(cell_len, [self.headings[column], *self.cells(column)]))

    def least(self, column: int) -> int:
        """Return the width of a column that is folded as far as it may be."""
        words = max(map(cell_len, self.headings[column].split()), default=0)
        if self.kind(column) is Kind.TEXT:
            return max(words, min(LEAST_TEXT, self.natural(column)))
        return max([words, *map(cell_len, self.cells(column))])


def tables(sheet: Sheet, width: int) -> list[Table]:
    """Return a sheet as a table of at most `width` characters, or as several."""
    columns = list(range(len(sheet.headings)))
    widths = {column: sheet.natural(column) for column in columns}
    for gap in (GAP, NARROW_GAP):
        if _total(widths, gap) <= width:
            return [_table(sheet, widths, gap)]
    columns = [column for column in columns if sheet.kind(column) is not Kind.BAR]
    widths = _folded(sheet, columns, width)
    if _total(widths) <= width:
        return [_table(sheet, widths)]
    return [_table(sheet, part) for part in _parts(widths, width)]


def _total(widths: dict[int, int], gap: int = NARROW_GAP) -> int:
    return sum(widths.values()) + gap * (len(widths) - 1)


def _folded(sheet: Sheet, columns: list[int], width: int) -> dict[int, int]:
    """Return widths of columns: the widest texts give first, then headings of numbers."""
    widths = {column: sheet.natural(column) for column in columns}
    texts = [column for column in columns if sheet.kind(column) is Kind.TEXT]
    for group in (texts, [column for column in columns if column not in texts]):
        while _total(widths) > width:
            wide = [column for column in group if widths[column] > sheet.least(column)]
            if not wide:
                break
            widths[max(wide, key=lambda column: widths[column])] -= 1
    return widths


def _parts(widths: dict[int, int], width: int) -> list[dict[int, int]]:
    """Return the columns of each of several tables; the first column is in all of them."""
    (first, key), *rest = widths.items()
    parts = [{first: key}]
    for column, size in rest:
        if len(parts[-1]) > 1 and _total({**parts[-1], column: size}) > width:
            parts.append({first: key})
        parts[-1][column] = size
    return parts


def _table(sheet: Sheet, widths: dict[int, int], gap: int = NARROW_GAP) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - 1, 0, 0),  # and a blank from the frame
        show_header=any(sheet.headings),
        show_footer=bool(sheet.footer),
    )
    for column, size in widths.items():
        table.add_column(
            sheet.headings[column],
            sheet.footer[column] if sheet.footer else "",
            justify="right" if sheet.kind(column) is Kind.NUMBER else "left",
            overflow="fold",
            width=size,
        )
    for row in sheet.rows:
        table.add_row(*(row[column] for column in widths))
    return table
