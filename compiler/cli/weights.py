"""The table of weights that the command line prints: what quantization did to each layer's."""

from rich import box
from rich.table import Table

TITLE = "Weights by layer"
COLUMNS = {
    # heading: (key of a row, how it is written, what it means if that isn't plain)
    "weights": ("weights", "{:,}", ""),
    "bits": ("bits_per_weight", "{:.2f}", ""),
    "paper": ("paper_bits_per_weight", "{:.2f}",
              "bits as MicroScopiQ counts them, without inlier scales and identifiers"),
    "outl. %": ("outlier_share", "{:.2%}", "weights that are outliers"),
    "flag. %": ("flagged_share", "{:.2%}", "micro-blocks that have outliers"),
    "over": ("overflow", "{:,}", "outliers without room"),
    "satur.": ("saturated", "{:,}", "weights that are clipped"),
    "error %": ("held_out_error", "{:.3%}",
                "of the output's power, lost on held-out rows; all: mean over layers"),
}  # fmt: skip


def columns_of(report: dict) -> dict[str, tuple[str, str, str]]:
    """Return the columns that any layer has."""
    total = report["total"]
    return {name: column for name, column in COLUMNS.items() if total[column[0]] is not None}


def notes(report: dict) -> str:
    """Return what the columns mean."""
    meant = {name: meaning for name, (_, _, meaning) in columns_of(report).items() if meaning}
    return "\n".join(f"{name:8}{meaning}" for name, meaning in meant.items())


def weight_table(report: dict) -> Table:
    """Return the table of a `weight_report`."""
    rows, total, columns = report["layers"], report["total"], columns_of(report)
    several = len({row["weight_format"] for row in rows}) > 1
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), show_footer=True
    )
    table.add_column("layer", "all", overflow="fold")
    if several:
        table.add_column("format")
    for heading, column in columns.items():
        table.add_column(heading, _written(total, *column[:2]), justify="right", no_wrap=True)
    for row in rows:
        names = [row["layer"], *[row["weight_format"]] * several]
        table.add_row(*names, *(_written(row, *column[:2]) for column in columns.values()))
    return table


def _written(row: dict, key: str, form: str) -> str:
    value = row[key]
    return "" if value is None else form.format(value).removesuffix("%")
