"""The table of weights that the command line prints: what quantization did to each layer's."""

from .sheet import Sheet

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


def weight_sheet(report: dict) -> Sheet:
    """Return the table of a `weight_report`."""
    rows, total, columns = report["layers"], report["total"], columns_of(report)
    several = len({row["weight_format"] for row in rows}) > 1

    def line(name: str, row: dict) -> list[str]:
        format_name = [row.get("weight_format", "")] * several
        numbers = [_written(row, *column[:2]) for column in columns.values()]
        return [name, *format_name, *numbers]

    headings = ["layer", *["format"] * several, *columns]
    return Sheet(headings, [line(row["layer"], row) for row in rows], line("all", total))


def _written(row: dict, key: str, form: str) -> str:
    value = row[key]
    return "" if value is None else form.format(value).removesuffix("%")
