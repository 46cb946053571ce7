"""A weight matrix as the machine holds it, and what it means: integers and factors."""

from dataclasses import dataclass

import numpy as np

from .clusters import pattern_count
from .errors import InputError
from .formats import (
    MACRO_BLOCK,
    MAX_OUTLIERS,
    MICRO_BLOCK,
    WEIGHT_FORMATS,
    WeightFormat,
)
from .victims import pair_integers


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight matrix as the machine holds it.

    Attributes
    ----------
    slots : numpy.ndarray
        uint8 ``(out, in)``: slot codes. Two's complement for int formats; sign-magnitude for
        ms formats, where an outlier's Upper and Lower halves are slots too, and for fineq; for
        olive4 as `victims` says.
    scale : numpy.ndarray or None
        ``(groups, out)``, of formats whose output channels have scales, as these are stored: fp16,
        or bytes of E8M0 or E4M3.
    factor : numpy.ndarray or None
        float32 ``(1,)``: what all scales in E4M3 are multiplied by.
    isf : numpy.ndarray or None
        int16 ``(column_blocks, in)``: inlier scale exponents of ms formats.
    relative_exponent : numpy.ndarray or None
        int16 ``(micro_blocks, in)``: ``E - Isf`` of a flagged micro-block, -1 elsewhere.
    pairs : numpy.ndarray or None
        int8 ``(micro_blocks, in, 4, 2)``: Upper and Lower location, -1 where unused.
    pattern : numpy.ndarray or None
        uint8 ``(out, pairs)`` of fineq: 0, or which weight of both clusters is the zero; pairs of
        clusters start anew in each group of inputs.
    """

    format: str
    slots: np.ndarray
    scale: np.ndarray | None = None
    isf: np.ndarray | None = None
    relative_exponent: np.ndarray | None = None
    pairs: np.ndarray | None = None
    pattern: np.ndarray | None = None
    factor: np.ndarray | None = None

    @property
    def row(self) -> WeightFormat:
        return WEIGHT_FORMATS[self.format]

    def part(self, name: str) -> np.ndarray:
        """Return an array that the format needs, by the name of its field.

        Raises
        ------
        InputError
            When the weight lacks it.
        """
        found = getattr(self, name)
        if found is None:
            raise InputError(f"a weight in '{self.format}' without its {name}")
        return found


def blocks(length: int, block: int) -> int:
    """Return how many blocks cover a length."""
    return (length + block - 1) // block


def empty(format_name: str, out: int, inputs: int) -> QuantizedWeight:
    """Return an all-zero weight of a format and shape."""
    row = WEIGHT_FORMATS[format_name]
    slots = np.zeros((out, inputs), np.uint8)
    if (kind := row.column_scale) is not None:
        slots += np.uint8(row.values.index(0) if 0 in row.values else 0)
        scale = np.full((blocks(inputs, row.group), out), kind.least(row.fraction_bits))
        pairs = pattern_count(inputs, row.group)
        pattern = np.zeros((out, pairs), np.uint8) if row.cluster else None
        factor = np.ones(1, np.float32) if kind.factor_bytes else None
        return QuantizedWeight(format_name, slots, scale=scale, pattern=pattern, factor=factor)
    isf = np.zeros((blocks(out, MACRO_BLOCK), inputs), np.int16)
    if not row.has_outliers:
        return QuantizedWeight(format_name, slots, isf=isf)
    micro = blocks(out, MICRO_BLOCK)
    return QuantizedWeight(
        format_name,
        slots,
        isf=isf,
        relative_exponent=np.full((micro, inputs), -1, np.int16),
        pairs=np.full((micro, inputs, MAX_OUTLIERS, 2), -1, np.int8),
    )


def integers(weight: QuantizedWeight) -> tuple[np.ndarray, np.ndarray]:
    """Return what the array multiplies by: the meaning of the packed bytes.

    Returns
    -------
    values : numpy.ndarray
        int32 ``(out, in)``: aligned integer weights, outliers merged.
    scale : numpy.ndarray
        float32 ``(groups, out)``: factor of each group's integer sum.
    """
    row, (out, inputs) = weight.row, weight.slots.shape
    if row.pairs:
        return pair_integers(weight.slots), weight.part("scale").astype(np.float32)
    values = np.array(row.values, np.int32)[weight.slots]
    if row.column_scale is not None:
        return values, column_factors(weight)
    base = base_exponents(weight)
    shift = weight.part("isf").astype(np.int32) - np.repeat(base, row.group, axis=1)[:, :inputs]
    shift = np.repeat(shift, MACRO_BLOCK, axis=0)[:out]
    values <<= row.guard_bits + shift
    if row.has_outliers:
        _merge(weight, shift, values)
    scale = np.exp2((base - row.guard_bits).astype(np.float32)).T
    return values, np.repeat(scale, MACRO_BLOCK, axis=1)[:, :out]


def column_factors(weight: QuantizedWeight) -> np.ndarray:
    """Return float32 ``(groups, out)``: what an integer of 1 is in each group of an output channel.

    NaN where the machine would refuse the scale.
    """
    row, kind = weight.row, weight.row.column_scale
    assert kind is not None
    scale = kind.decode(weight.part("scale"), row.fraction_bits)
    return scale * weight.part("factor") if kind.factor_bytes else scale


def _merge(weight: QuantizedWeight, shift: np.ndarray, values: np.ndarray) -> None:
    """Put outliers into values ``(out, in)``: whole in the Upper's column, 0 in the Lower's."""
    row = weight.row
    micro, k, entry = np.nonzero(weight.part("pairs")[..., 0] >= 0)
    upper = micro * MICRO_BLOCK + weight.part("pairs")[micro, k, entry, 0]
    lower = micro * MICRO_BLOCK + weight.part("pairs")[micro, k, entry, 1]
    half = row.mantissa_bits // 2
    mask = (1 << half) - 1
    code_u, code_l = weight.slots[upper, k], weight.slots[lower, k]
    sign = np.where(code_u >> (row.bits - 1), -1, 1)
    magnitude = (1 << row.mantissa_bits) + ((code_u & mask).astype(np.int32) << half)
    magnitude += code_l & mask
    exponent = weight.part("relative_exponent")[micro, k] + shift[upper, k]
    values[upper, k] = (sign * magnitude) << exponent
    values[lower, k] = 0


def dequantize(weight: QuantizedWeight) -> np.ndarray:
    """Return the float32 ``(out, in)`` weights that the machine computes with."""
    values, scale = integers(weight)
    factors = np.repeat(scale.T, weight.row.group, axis=1)[:, : values.shape[1]]
    return (values * factors.astype(np.float64)).astype(np.float32)


def base_exponents(weight: QuantizedWeight) -> np.ndarray:
    """Return int32 ``(column_blocks, groups)``: the smallest Isf of each panel's rows."""
    starts = np.arange(0, weight.part("isf").shape[1], weight.row.group)
    return np.minimum.reduceat(weight.part("isf").astype(np.int32), starts, axis=1)
