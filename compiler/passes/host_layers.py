"""Layers whose quantized weights no array multiplies: the host computes with their values.

Recipes for weights alone (W4A16) and formats for comparison end here: the module computes what a
machine with that format would, in fp32, and every such layer is counted among host operators.
Activations for comparison are rounded row by row before it (`tir/compute_tokens.py`).
"""

import json
from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

from ..partition.graph import static_shape
from ..partition.layer import WEIGHTED, Layer, Partition
from ..quant.recipe import Recipe
from .pack import Packed

HOST_LAYERS = "microscopiq.host_layers"
"""Module attribute: JSON of records of layers whose quantized weights are on the host."""
TWO_ACTIVATIONS = "the recipe leaves products of two activations as they are"
OPERATOR = {"linear": "matmul", "attention": "matmul", "conv2d": "nn.conv2d"}


def keep_on_host(part: Partition, packed: dict[int, Packed], recipe: Recipe) -> list[dict]:
    """Note the layers of a partition that stay on the host; return their records.

    Those without weights leave the partition: nothing replaces them.
    """
    records = []
    kept = []
    for layer in part.layers:
        found = packed.get(id(layer))
        if layer.kind not in WEIGHTED:
            if recipe.on_host:
                part.host.append((OPERATOR[layer.kind], TWO_ACTIVATIONS))
            else:
                kept.append(layer)
            continue
        kept.append(layer)
        if found is None or found.values is None:
            continue
        part.host.append((OPERATOR[layer.kind], found.reason))
        records.append(_record(layer, found))
        _part_from_int8(layer, part)
    part.layers = kept
    return records


def _part_from_int8(layer: Layer, part: Partition) -> None:
    """Let a layer read and give fp32: also what it read from and gave to as int8."""
    for source in (layer, layer.source):
        if source is None or not source.requantize:
            continue
        source.requantize = False
        for reader in part.layers:
            if reader.source is source:
                reader.source = None


def _record(layer: Layer, packed: Packed) -> dict:
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "weight_format": packed.format,
        "weights": int(np.prod(packed.shape)),
        "bits_per_weight": round(packed.bits_per_weight, 4),
        "counts": packed.counts,
        **packed.calibration,
    }


def emit_on_host(builder, visit, layer: Layer, packed: Packed, rounded: Callable):
    """Emit a layer with the values of its weights, and what was fused behind it.

    Parameters
    ----------
    rounded : callable
        Called as ``rounded(x, rows, length)``: returns the values ``(rows, length)`` that the
        layer's input has in the recipe's format.
    """
    assert packed.values is not None
    shape = static_shape(layer.x)
    if layer.kind == "conv2d":
        x = rounded(visit(layer.x), shape[0], int(np.prod(shape[1:])))
        x = builder.emit(relax.op.reshape(x, shape))
        weight = relax.const(packed.values.reshape(layer.weight.shape))
        y = builder.emit(tvm.relax.Call(layer.call.op, [x, weight], layer.call.attrs))
        channels: tuple[int, ...] = (1, -1, 1, 1)
    else:
        inputs = packed.shape[-1]
        x = rounded(visit(layer.x), int(np.prod(shape)) // inputs, inputs)
        weight = relax.const(np.ascontiguousarray(packed.values[0].T))
        y = builder.emit(relax.op.matmul(x, weight))
        channels = (1, -1)
    if layer.bias is not None:
        y = builder.emit(relax.op.add(y, relax.const(layer.bias.reshape(channels))))
    if layer.residual is not None:
        residual = relax.op.reshape(visit(layer.residual), static_shape(y))
        y = builder.emit(relax.op.add(y, builder.emit(residual)))
    if layer.low is not None or layer.high is not None:
        low = float("-inf") if layer.low is None else layer.low
        high = float("inf") if layer.high is None else layer.high
        y = builder.emit(relax.op.clip(y, low, high))
    return builder.normalize(relax.op.reshape(y, static_shape(layer.root)))


def host_layers(mod: tvm.IRModule) -> list[dict]:
    """Return the records of a quantized module's layers on the host."""
    return json.loads(str(mod.attrs[HOST_LAYERS])) if mod.attrs and HOST_LAYERS in mod.attrs else []
