"""Quantizes and packs the weights of one layer, and says what that lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...target.formats import WEIGHT_FORMATS
from ...target.packing import bits_per_weight, pack
from ...target.weight import QuantizedWeight, blocks
from ..partition.layer import Layer, Partition, Replaced, matrices
from ..quant.base import quantize_weight, values_of
from ..quant.host_formats import StudyWeight
from ..quant.recipe import Recipe
from ..quant.statistics import Statistics
from .records import Calibrated


def host_reason(activation: str) -> str:
    """Return why layers stay on the host whose activations the array doesn't multiply."""
    return f"the recipe keeps activations in {activation}, which the array doesn't multiply"


@dataclass(frozen=True)
class Packed:
    """What the machine loads for a layer, and the quantizer's record of it.

    Attributes
    ----------
    segment : bytes
        Empty where the host computes with the values.
    shape : tuple of int
        ``(groups, out, in)``.
    counts : dict
        The method's events, over all groups.
    calibration : Calibrated or None
        What is known from it.
    bits_per_weight : float
        Of the segment; of a format for comparison by its definition.
    shift : numpy.ndarray or None
        float32 ``(groups * out,)``: what the layer's bias gets in addition.
    values : numpy.ndarray or None
        float32 ``(groups, out, in)`` of a layer that stays on the host.
    reason : str
        Why it does.
    """

    format: str
    segment: bytes
    shape: tuple[int, ...]
    counts: dict[str, int]
    calibration: Calibrated | None = None
    bits_per_weight: float = 0.0
    shift: np.ndarray | None = None
    values: np.ndarray | None = None
    reason: str = ""


def pack_layer(
    layer: Layer, recipe: Recipe, statistics: Sequence[Statistics] | None = None
) -> tuple[Packed, Replaced | None]:
    """Quantize and pack a layer's weights as a recipe says; with statistics, return values too.

    Parameters
    ----------
    statistics : sequence of Statistics, optional
        One per group, in the order of the weight's columns.
    """
    format_name = recipe.for_layer(layer.name).weight_format
    parts = matrices(layer)
    corrected = recipe.bias_correction and layer.bias is not None
    weights, counts, damping = _quantized(layer, parts, recipe, statistics, corrected)
    study = [weight for weight in weights if isinstance(weight, StudyWeight)]
    values = replaced = known = None
    if statistics or study or recipe.on_host:
        values = np.stack([values_of(weight) for weight in weights])
    if statistics and values is not None:
        shifts = None
        if corrected:
            both = zip(parts, values, statistics, strict=True)
            shifts = [rows.bias_shift(part, found) for part, found, rows in both]
        known = _calibrated(parts, values, shifts, statistics, damping)
        replaced = Replaced(values, None if shifts is None else np.concatenate(shifts))
    shift = replaced.shift if replaced else None
    packed = Packed(format_name, b"", parts.shape, counts, known, shift=shift)
    if study:
        bits = float(np.mean([weight.bits for weight in study]))
        reason = f"no machine decodes weights in {format_name}"
        return replace(packed, bits_per_weight=bits, values=values, reason=reason), replaced
    stored = [weight for weight in weights if isinstance(weight, QuantizedWeight)]
    segment = pack(stored)
    packed = replace(packed, bits_per_weight=bits_per_weight(segment, parts.size))
    if recipe.on_host:
        reason = host_reason(recipe.activation)
        return replace(packed, values=values, reason=reason), replaced
    return replace(packed, segment=segment), replaced


def pack_integers(layer: Layer) -> Packed:
    """Pack the integers that the source gave a layer at a scale of 1, in 4 bits if all fit."""
    parts = layer.given.reshape(layer.groups, len(layer.given) // layer.groups, -1)
    small = parts.min() >= -8 and parts.max() <= 7
    name = "int4" if small else "int8"
    row = WEIGHT_FORMATS[name]
    slots = parts.view(np.uint8) & ((1 << row.bits) - 1)
    ones = np.ones((blocks(parts.shape[2], row.group), parts.shape[1]), np.float16)
    segment = pack([QuantizedWeight(name, part, scale=ones) for part in slots])
    bits = bits_per_weight(segment, parts.size)
    return Packed(name, segment, parts.shape, {}, bits_per_weight=bits)


def corrected(part: Partition, packed: Mapping[int, Packed]) -> Partition:
    """Return a partition whose biases have what their layers' quantized weights lack."""
    layers = []
    for layer in part.layers:
        shift = packed[layer.number].shift if layer.number in packed else None
        layers.append(layer if shift is None else replace(layer, bias=layer.bias + shift))
    return replace(part, layers=tuple(layers))


def _quantized(
    layer: Layer, parts: np.ndarray, recipe: Recipe, statistics, corrected: bool
) -> tuple[list[QuantizedWeight | StudyWeight], dict[str, int], float | None]:
    """Return a layer's matrices, what was counted over all of them, and the damping."""
    method, format_name, options = recipe.for_layer(layer.name)
    weights: list[QuantizedWeight | StudyWeight] = []
    counts: dict[str, int] = {}
    dampings: list[float] = []
    for matrix, given in zip(parts, statistics or [None] * len(parts), strict=True):
        rows = given.centered() if given is not None and corrected else given
        weight, found = quantize_weight(method, matrix, format_name, layer.name, rows, options)
        weights.append(weight)
        damping = found.pop("damping", None)
        for name, count in found.items():
            counts[name] = counts.get(name, 0) + count
        if damping is not None:
            dampings.append(damping)
    return weights, counts, float(np.median(dampings)) if dampings else None


def _calibrated(
    parts: np.ndarray, values, shifts, statistics: Sequence[Statistics], damping: float | None
) -> Calibrated:
    """Return a layer's rows and the error of its output on those that were held out."""
    lost = power = 0.0
    for matrix, quantized, shift, rows in zip(
        parts, values, shifts or [None] * len(parts), statistics, strict=True
    ):
        found = rows.held_out_loss(matrix, quantized, shift)
        lost, power = lost + found[0], power + found[1]
    held_out = statistics[0].held_out_rows
    error = lost / power if power > 0 else float(lost > 0)
    # JSON has no NaN.
    return Calibrated(error if held_out else None, statistics[0].rows, held_out, damping)
