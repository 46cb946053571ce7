"""Tells operators what the choice of a way to multiply their outliers goes by.

Only where a machine has several ways, or where the user names one: elsewhere layers that differ in
their outliers alone keep one operator, and one schedule.
"""

import fnmatch
import json
import math
from collections.abc import Mapping
from dataclasses import replace

import tvm
from tvm import tirx

from ...target.arch import Arch
from ...target.errors import ConfigError
from ...target.formats import MICRO_BLOCK, WEIGHT_FORMATS
from ...target.weight import blocks
from ..kinds.registry import from_attribute
from ..operators import ATTRIBUTE, Gemm, to_attribute
from ..tiling.tile import TILE, outlier_ways
from .lower import quantized_functions
from .records import LayerRecord, read_records

STEPS = 2
"""Classes of shares in each octave: layers of one class are one operator, and tuned once."""
DIGITS = 4


def with_outlier_ways(mod: tvm.IRModule, arch: Arch, ways: Mapping[str, str]) -> tvm.IRModule:
    """Return the module whose operators have the share of outliers, and the way that is asked for.

    Parameters
    ----------
    ways : mapping of str to str
        The way of layers by a pattern of their names; of several that fit the last one holds.

    Raises
    ------
    ConfigError
        When the machine doesn't have the way of a layer with outliers, or no layer fits a pattern.
    """
    layers, functions, fitted = read_records(mod).layers, {}, set[str]()
    for gv, function in quantized_functions(mod):
        op, record = from_attribute(str(function.attrs[ATTRIBUTE])), layers[gv.name_hint]
        found = [pattern for pattern in ways if fnmatch.fnmatchcase(record.layer, pattern)]
        fitted.update(found)
        if not isinstance(op, Gemm) or not _has_outliers(op):
            continue
        way = ways[found[-1]] if found else ""
        there = outlier_ways(op, arch)
        if way and way not in there:
            raise ConfigError(
                f"layer '{record.layer}': {arch.name} can't multiply outliers by '{way}'; it can "
                f"by: {', '.join(there)}"
            )
        if len(there) > 1:
            changed = replace(op, way=way, flagged=_share(op, record))
            functions[gv] = function.with_attr(ATTRIBUTE, to_attribute(changed))
    if missing := [pattern for pattern in ways if pattern not in fitted]:
        raise ConfigError(
            f"no layer fits '{missing[0]}' of the ways to multiply outliers; layers on the array: "
            f"{', '.join(dict.fromkeys(record.layer for record in layers.values()))}"
        )
    if not functions:
        return mod
    attrs, kept = mod.attrs, {gv: functions.get(gv, f) for gv, f in mod.functions.items()}
    return tvm.IRModule(kept).with_attrs(dict(attrs))


def _has_outliers(op: Gemm) -> bool:
    return bool(op.weight_format) and op.outliers and WEIGHT_FORMATS[op.weight_format].has_outliers


def _share(op: Gemm, record: LayerRecord) -> float | None:
    """Return the class of the share of micro-blocks with outliers, None where it's unknown."""
    flagged = record.weights.counts.get("flagged") if record.weights else None
    if not flagged:
        return None
    # Groups that stand side by side have zeros beside them, and no outlier more.
    share = flagged / (op.conv_groups * op.k * blocks(op.n, MICRO_BLOCK))
    return min(1.0, round(2 ** (round(STEPS * math.log2(share)) / STEPS), DIGITS))


def ways_taken(
    mod: tvm.IRModule, schedules: Mapping[str, tirx.PrimFunc], layers: Mapping[str, LayerRecord]
) -> dict[str, str]:
    """Return how each layer with outliers multiplies them, by its name."""
    found = {}
    for gv, function in quantized_functions(mod):
        attribute = str(function.attrs[ATTRIBUTE])
        op = from_attribute(attribute)
        if isinstance(op, Gemm) and _has_outliers(op):
            tile = json.loads(str(schedules[attribute].attrs[TILE]))
            found[layers[gv.name_hint].layer] = tile["outliers"]
    return found
