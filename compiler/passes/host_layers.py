"""Layers whose quantized weights no array multiplies: the host computes with their values.

Recipes for weights alone (W4A16) and formats for comparison end here: the module computes what a
machine with that format would, in fp32, and every such layer is counted among host operators.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...target.formats import MACRO_BLOCK, WEIGHT_FORMATS
from ..partition.graph import op_name
from ..partition.layer import Layer, Partition
from ..quant.recipe import Recipe
from .pack import Packed
from .records import LayerRecord, Weights

TWO_ACTIVATIONS = "the recipe leaves products of two activations as they are"


def keep_on_host(
    part: Partition, packed: Mapping[int, Packed], recipe: Recipe
) -> tuple[Partition, list[LayerRecord]]:
    """Return a partition that knows its layers on the host, and these layers' records.

    Layers share fp32 instead of int8 rows with those, and with layers of other groups. Those
    without weights leave the partition: nothing replaces them.
    """
    host, kept, records = list(part.host), [], []
    in_fp32: set[int | None] = set()
    for layer in part.layers:
        if layer.weight is None and recipe.on_host:
            host.append((op_name(layer.call), TWO_ACTIVATIONS))
            continue
        kept.append(layer)
        found = packed.get(layer.number)
        if found is not None and found.values is not None:
            host.append((op_name(layer.call), found.reason))
            records.append(_record(layer, found))
            in_fp32 |= {layer.number, layer.source} - {None}
        elif found is not None and WEIGHT_FORMATS[found.format].group != MACRO_BLOCK:
            # Its groups aren't the blocks of columns whose int8 result shares an exponent.
            in_fp32 |= {layer.source} - {None}
    layers = tuple(_parted(layer, in_fp32) for layer in kept)
    return replace(part, layers=layers, host=tuple(host)), records


def _parted(layer: Layer, in_fp32: set[int | None]) -> Layer:
    """Let a layer give and read fp32 where it or who it shares int8 rows with is on the host."""
    return replace(
        layer,
        requantize=layer.requantize and layer.number not in in_fp32,
        source=None if layer.source in in_fp32 else layer.source,
    )


def _record(layer: Layer, packed: Packed) -> LayerRecord:
    weights = Weights(
        count=int(np.prod(packed.shape)),
        weight_bytes=None,
        bits_per_weight=round(packed.bits_per_weight, 4),
        counts=packed.counts,
        calibration=packed.calibration,
    )
    return LayerRecord(layer.name, layer.kind, packed.format, weights=weights)
