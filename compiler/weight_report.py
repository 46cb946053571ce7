"""What quantization did to the weights of a model, by layer and in total."""

import json
from collections.abc import Iterable

import tvm

from ..target.formats import MAX_OUTLIERS, MICRO_BLOCK, WEIGHT_FORMATS
from .passes.host_layers import host_layers
from .passes.quantize import LAYERS

MXSCALE_BITS, LOCATION_BITS = 8, 6
"""Of what the paper counts beside a flagged micro-block's slots: outliers' scale, an entry of the
permutation list."""
SUMMED = ("overflow", "saturated")


def weight_report(mod: tvm.IRModule) -> dict:
    """Return what quantization did to the weights of a module that `quantize` returned.

    Returns
    -------
    dict
        ``layers``, a list of rows in execution order (those on the host last), and ``total``, a
        row. A row has ``layer``, ``kind``, ``weight_format``, ``runs_on`` ("array" or "host"; not
        in the total), ``weights``, ``bits_per_weight`` (from the packed bytes; of a format for
        comparison by its definition), ``paper_bits_per_weight`` (`paper_bits`),
        ``outlier_share`` of weights, ``flagged_share`` of micro-blocks, ``overflow`` (outliers
        without room), ``saturated`` weights and ``held_out_error``, the share of the output's power
        that was lost on held-out rows (in the total the mean over layers). What a method doesn't
        count or a format doesn't have is None.
    """
    records = json.loads(str(mod.attrs[LAYERS])) if mod.attrs and LAYERS in mod.attrs else {}
    array = [(row, "array") for row in records.values() if "weights" in row]
    host = [(row, "host") for row in host_layers(mod)]
    sources = [row for row, _ in array + host]
    return {
        "layers": [
            {
                "layer": row["layer"],
                "kind": row["kind"],
                "weight_format": row["weight_format"],
                "runs_on": place,
                **_summary([row]),
            }
            for row, place in array + host
        ],
        "total": _summary(sources),
    }


def paper_bits(bits: int, flagged_share: float) -> float:
    """Return the effective bit width as MicroScopiQ's paper counts it (A1).

    A micro-block with outliers has its slots, an 8-bit scale and 24 bits of permutation list,
    another one its slots alone: inlier scales and identifier bits aren't counted.
    """
    flagged = MICRO_BLOCK * bits + MXSCALE_BITS + MAX_OUTLIERS * LOCATION_BITS
    return flagged_share * flagged / MICRO_BLOCK + (1 - flagged_share) * bits


def _summary(rows: list[dict]) -> dict:
    """Return the columns of one row, over some layers."""
    weights = sum(row["weights"] for row in rows)
    bits = sum(row["bits_per_weight"] * row["weights"] for row in rows)
    blocks = [row for row in rows if "micro_blocks" in row["counts"]]
    known = [row for row in rows if "outliers" in row["counts"]]
    errors = [row["held_out_error"] for row in rows if row.get("held_out_error") is not None]
    return {
        "weights": weights,
        "bits_per_weight": bits / weights if weights else None,
        "paper_bits_per_weight": _mean(
            (paper_bits(_bits(row), _flagged_share([row])), row["weights"]) for row in blocks
        ),
        "outlier_share": _mean((_count([row], "outliers") / row["weights"], row["weights"])
                               for row in known),
        "flagged_share": _flagged_share(blocks) if blocks else None,
        **{
            name: _count(rows, name) if any(name in row["counts"] for row in rows) else None
            for name in SUMMED
        },
        "held_out_error": sum(errors) / len(errors) if errors else None,
    }  # fmt: skip


def _bits(row: dict) -> int:
    return WEIGHT_FORMATS[row["weight_format"]].bits


def _count(rows: list[dict], name: str) -> int:
    return sum(row["counts"].get(name, 0) for row in rows)


def _flagged_share(rows: list[dict]) -> float:
    return _count(rows, "flagged") / _count(rows, "micro_blocks")


def _mean(weighted: Iterable[tuple[float, int]]) -> float | None:
    """Return the mean of (value, weight), None of nothing."""
    pairs = list(weighted)
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None
