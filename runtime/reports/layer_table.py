"""A run as a table: a row per call, for spreadsheets and scripts."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ..results.causes import CAUSES
from ..results.result import RunResult
from ..whole_file import whole_text

ARRAY = "array"
COLUMNS = {
    "layer": "where the operator comes from in the model",
    "function": "function of the program",
    "weight_format": "format of what the array holds; empty for a function without a product",
    "weight_bits": "bits of the widest weight slot",
    "cycles": "machine cycles of the call",
    **{f"array_{cause.key}_cycles": f"of the array: {cause.doc}" for cause in CAUSES.values()},
    "utilisation": "multiply-accumulates over what the array could do in `cycles`, 0 to 1",
    "macs": "multiply-accumulates",
    "temporal_adds": "additions of temporal PEs",
    "vector_ops": "elements through the vector unit",
    "outlier_rows": "array rows with an outlier",
    "recon_passes": "activation rows through a ReCoN network",
    "recon_second_passes": "of these, second passes",
    "recon_waits": "of these, rows without outliers that only wait",
    "recon_switch_ops": "switches that did something",
    "saturations": "accumulator writes that didn't fit",
}
"""Columns of every table; then come those of memories, and of energy if the run has any."""


def memory_columns(call: dict) -> dict[str, int]:
    """Return the bytes that a call moved, by column: off chip, then by on-chip memory."""
    bytes_of = {"dram": call["dram_bytes"], **call["memory_bytes"]}
    return {
        f"{memory}_{way}_bytes": parts[way]
        for memory, parts in bytes_of.items()
        for way in ("read", "written")
    }


def layer_row(call: dict) -> dict[str, object]:
    """Return the cells of one call by column."""
    possible = call["cycles"] * call["peak_macs"]
    row: dict[str, object] = {
        "layer": call["layer"],
        "function": call["name"],
        "weight_format": call["weight_format"],
        "weight_bits": call["weight_bits"],
        "cycles": call["cycles"],
        **{f"array_{cause}_cycles": value for cause, value in call["units"][ARRAY].items()},
        "utilisation": f"{call['macs'] / possible:.6f}" if possible else "0",
        "macs": call["macs"],
        "temporal_adds": call["temporal_adds"],
        "vector_ops": call["vector_ops"],
        "outlier_rows": call["outlier_rows"],
        **{f"recon_{count}": value for count, value in call["recon"].items()},
        "saturations": call["saturations"],
        **memory_columns(call),
    }
    energy = call.get("energy_pj", {})
    return row | {f"{component}_energy_pj": f"{pj:.6g}" for component, pj in energy.items()}


def layer_rows(result: RunResult) -> Iterator[dict[str, object]]:
    """Yield the cells of every call, in the order of the calls."""
    return map(layer_row, result.calls)


def write_layers(path: str | Path, result: RunResult) -> None:
    """Write the table as CSV (RFC 4180, UTF-8, one header line); compressed for .gz.

    Raises
    ------
    ConfigError
        When the file can't be written.
    """
    rows = list(layer_rows(result))
    with whole_text(path) as file:
        table = csv.DictWriter(file, list(rows[0]) if rows else list(COLUMNS))
        table.writeheader()
        table.writerows(rows)
