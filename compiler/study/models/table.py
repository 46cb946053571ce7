"""The matrix as a table: what a row says in few words, and the page of the documentation."""

import numpy as np

from .run import Row

HEADINGS = (
    "model",
    "from",
    "import dB",
    "equal",
    "SQNR dB",
    "MACs %",
    "time %",
    "latency %",
)


def cells(row: Row) -> tuple[str, ...]:
    """Return what stands under `HEADINGS`; of a row that failed, where it did."""
    if row.stage:
        return (row.name, row.form, f"{row.stage} fails", "", "", "", "", "")
    return (
        row.name,
        row.form,
        decibels(row.import_db),
        "yes" if row.equal else "NO",
        decibels(row.sqnr_db),
        _percent(row.macs_share),
        _percent(row.time_share),
        _percent(row.latency_share),
    )


def decibels(value: float | None) -> str:
    """Return a distance: ``exact`` for none, ``wrong`` for values or shapes of another model."""
    if value is None:
        return ""
    if np.isfinite(value):
        return f"{value:.0f}"
    return "exact" if value > 0 else "wrong"


def _percent(share: float | None) -> str:
    # 100 is said of all alone: what rounds to it isn't.
    if share is None:
        return "none"
    return "100" if share == 1 else f"{min(100 * share, 99.9):.1f}"


def reasons(rows: list[Row]) -> list[tuple[str, str, int, str]]:
    """Return operators on the host, why, how many in all rows, and in which models."""
    counts: dict[tuple[str, str], int] = {}
    models: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        for operator, reason, times in row.host:
            key = (operator.rstrip("0123456789"), reason)
            counts[key] = counts.get(key, 0) + times
            models.setdefault(key, {})[row.name] = None
    order = sorted(counts, key=lambda key: (-len(models[key]), key))
    return [(*key, counts[key], ", ".join(models[key])) for key in order]


def page(rows: list[Row], command: str, recipe: str, arch: str) -> str:
    """Return docs/model_matrix.md."""
    failed = [row for row in rows if row.stage]
    lines = [
        "# Models through the whole path",
        "",
        f"Written by `{command}`: recipe `{recipe}` without data, on `{arch}`.",
        "",
        "Tiny random configurations of what people use, through `torch.export` and through",
        "`torch.onnx.export(dynamo=True)`. *import dB*: the imported fp32 module on LLVM beside",
        "the source. *equal*: the simulator's outputs are LLVM's in every bit. *SQNR dB*: the",
        "quantized model beside the source; weights are random, so it says little of trained ones.",
        "*MACs %*: multiply-accumulates on the array. *time %*: of the time of all operators, the",
        "machine's share. *latency %*: its share of the whole latency; the rest is the host's, and",
        "that of hand-overs as the architecture describes them",
        "([architectures.md](architectures.md)): each run starts and ends on the host, which is",
        "long beside models as tiny as these.",
        "",
        f"{len(rows)} rows, of which {len(failed)} fail.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---|---|" + "---:|" * (len(HEADINGS) - 2),
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]
    if failed:
        lines += ["", "## What fails", "", "| model | from | stage | why |", "|---|---|---|---|"]
        lines += [
            f"| {row.name} | {row.form} | {row.stage} | {_cell(row.error)} |" for row in failed
        ]
    lines += ["", "## On the host", "", "| operator | why | times | in |", "|---|---|---:|---|"]
    lines += [
        f"| `{operator}` | {_cell(reason)} | {times} | {_cell(_shortened(models))} |"
        for operator, reason, times, models in reasons(rows)
    ]
    return "\n".join(lines) + "\n"


def _shortened(models: str, most: int = 4) -> str:
    names = models.split(", ")
    return (
        models if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
