"""What became of a model's layers, as the command line prints it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from .sheet import Sheet
from .tables import print_facts, print_table

if TYPE_CHECKING:
    # It loads TVM, which no listing needs.
    from ..passes.records import HostOperator, LayerRecord


WAYS = {"recon": "Merged by ReCoN", "replay": "Replayed"}
NAMED = 3
"""So many layers of a way are named."""


def print_layers(
    console: Console, layers: "Mapping[str, LayerRecord]", ways: Mapping[str, str]
) -> None:
    """Print the accelerated layers by kind and weight format, and what their outliers cost.

    `ways` is how layers multiply them, as far as schedules say.
    """
    groups: dict[tuple[str, str], list[LayerRecord]] = {}
    for record in layers.values():
        groups.setdefault((record.kind, record.weight_format), []).append(record)
    headers = ["kind", "format", "layers", "MACs", "weights", "weight bytes", "bits/weight"]
    weighted = [record.weights for record in layers.values() if record.weights]
    calibrated = any(known.calibration for known in weighted)
    headers += ["held-out error"] * calibrated
    table = []
    for (kind, name), rows in groups.items():
        macs = sum(row.macs for row in rows)
        weights = sum(row.weights.count for row in rows if row.weights)
        packed = sum(row.weights.weight_bytes or 0 for row in rows if row.weights)
        numbers = [f"{value:,}" if value else "" for value in (macs, weights, packed)]
        bits = f"{8 * packed / weights:.2f}" if weights else ""
        errors = [_held_out_error(rows)] * calibrated
        table.append((kind, name, f"{len(rows):,}", *numbers, bits, *errors))
    if groups:
        print_table(console, Sheet(headers, table), "On the array")
    else:
        console.print("Nothing of this model runs on the array.\n")
    counts = [known.counts for known in weighted if "second_passes" in known.counts]
    if counts:
        kept, flagged, again = (
            f"{sum(count[key] for count in counts):,}"
            for key in ("pruned", "flagged", "second_passes")
        )
        facts = [
            ("Kept", kept, f"in {flagged} micro-blocks, each beside a pruned slot"),
            ("Second passes", again, "micro-blocks that ReCoN can't route in one pass"),
        ]
        taken = Counter(ways.values())
        facts += [(WAYS[way], f"{count:,}", _named(ways, way)) for way, count in taken.items()]
        print_facts(console, facts, "Outliers")


def _named(ways: Mapping[str, str], way: str) -> str:
    """Return the layers that take a way; all are "layers", a few have their names."""
    names = [name for name, taken in ways.items() if taken == way]
    few = len(names) < len(ways) and len(names) <= NAMED
    return "layers" + (f": {', '.join(names)}" if few else "")


def print_host(console: Console, host: "Sequence[HostOperator]") -> None:
    """Print what runs on the host, over all functions of the model."""
    counted: dict[tuple[str, str], int] = {}
    for _function, name, reason, count in host:
        counted[name, reason] = counted.get((name, reason), 0) + count
    rows = [
        (f"{count:,}", name, reason)
        for (name, reason), count in sorted(counted.items(), key=lambda item: -item[1])
    ]
    if counted:
        print_table(console, Sheet(("count", "operator", "why"), rows), "On the host")


def _held_out_error(rows: "list[LayerRecord]") -> str:
    """Return the mean over layers of the share of the output's power that quantization lost."""
    known = [row.held_out_error for row in rows if row.held_out_error is not None]
    return f"{100 * sum(known) / len(known):.3g} %" if known else ""
