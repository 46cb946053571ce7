"""What quantization did to the weights of a model, by layer and in total."""

from collections.abc import Iterable, Sequence

import tvm

from ..target.errors import InputError
from ..target.formats import MAX_OUTLIERS, MICRO_BLOCK, WEIGHT_FORMATS
from .passes.records import LayerRecord, Weights, read_records

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

    Raises
    ------
    InputError
        For anything but a module; an executable has its weights packed.
    """
    if not isinstance(mod, tvm.IRModule):
        raise InputError(
            f"given {type(mod).__name__}; allowed: the module that `quantize` returned"
        )
    records = read_records(mod)
    rows = [record for record in records.layers.values() if record.weights]
    return {
        "layers": [
            {
                "layer": record.layer,
                "kind": record.kind,
                "weight_format": record.weight_format,
                "runs_on": place,
                **_summary([record]),
            }
            for place, found in (("array", rows), ("host", records.host_layers))
            for record in found
        ],
        "total": _summary([*rows, *records.host_layers]),
    }


def paper_bits(bits: int, flagged_share: float) -> float:
    """Return the effective bit width as MicroScopiQ's paper counts it (A1).

    A micro-block with outliers has its slots, an 8-bit scale and 24 bits of permutation list,
    another one its slots alone: inlier scales and identifier bits aren't counted.
    """
    flagged = MICRO_BLOCK * bits + MXSCALE_BITS + MAX_OUTLIERS * LOCATION_BITS
    return flagged_share * flagged / MICRO_BLOCK + (1 - flagged_share) * bits


def _summary(records: Sequence[LayerRecord]) -> dict:
    """Return the columns of one row, over some layers."""
    known = [(record.weight_format, record.weights) for record in records if record.weights]
    rows = [row for _, row in known]
    weights = sum(row.count for row in rows)
    bits = sum(row.bits_per_weight * row.count for row in rows)
    blocks = [(name, row) for name, row in known if "micro_blocks" in row.counts]
    errors = [row.held_out_error for row in records if row.held_out_error is not None]
    return {
        "weights": weights,
        "bits_per_weight": bits / weights if weights else None,
        "paper_bits_per_weight": _mean(
            (paper_bits(WEIGHT_FORMATS[name].bits, _flagged_share([row])), row.count)
            for name, row in blocks
        ),
        "outlier_share": _mean(
            (_count([row], "outliers") / row.count, row.count)
            for row in rows
            if "outliers" in row.counts
        ),
        "flagged_share": _flagged_share([row for _, row in blocks]) if blocks else None,
        **{
            name: _count(rows, name) if any(name in row.counts for row in rows) else None
            for name in SUMMED
        },
        "held_out_error": sum(errors) / len(errors) if errors else None,
    }


def _count(rows: list[Weights], name: str) -> int:
    return sum(row.counts.get(name, 0) for row in rows)


def _flagged_share(rows: list[Weights]) -> float:
    return _count(rows, "flagged") / _count(rows, "micro_blocks")


def _mean(weighted: Iterable[tuple[float, int]]) -> float | None:
    """Return the mean of (value, weight), None of nothing."""
    pairs = list(weighted)
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None
