"""target/formats.py: every code of every format, and how numbers are rounded to them."""

import numpy as np
import pytest

from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.target.errors import InputError
from microscopiq.target.formats import (
    BY_CODE,
    CLUSTER_BITS,
    CLUSTER_GROUP,
    MACRO_BLOCK,
    MICRO_BLOCK,
    OUTLIER_EXPONENT,
    ROWS_INT8,
    WEIGHT_FORMATS,
    outlier_exponent_range,
)
from microscopiq.target.weight import dequantize, empty, integers

INT = [name for name, row in WEIGHT_FORMATS.items() if row.alone and not row.sign_magnitude]
MS = [name for name, row in WEIGHT_FORMATS.items() if row.has_outliers]


@pytest.mark.parametrize("row", WEIGHT_FORMATS.values(), ids=lambda row: row.name)
def test_rows_are_consistent(row):
    assert BY_CODE[row.code] is row and row.code != ROWS_INT8
    assert row.q_max == 2 ** (row.bits - 1) - 1
    assert row.description and "\n" not in row.description
    if row.has_outliers:
        # Upper and Lower each hold a sign and half the mantissa (MicroScopiQ A1).
        assert 1 + row.mantissa_bits // 2 <= row.bits
        # The merge shifts right by up to the mantissa's width: as many guard bits lose nothing.
        assert row.guard_bits == row.mantissa_bits
        assert sum(OUTLIER_EXPONENT[row.bits]) == 8
    if row.cluster:
        # Each stores all of a cluster's weights, or all but one that is zero.
        assert row.cluster * 2 == (row.cluster - 1) * row.bits == CLUSTER_BITS
        assert CLUSTER_GROUP // row.cluster * CLUSTER_BITS % 8 == 0


def test_outlier_exponent_range():
    """7 signed + 1 unsigned bits; 5 signed + 3 unsigned bits (MicroScopiQ A1)."""
    assert outlier_exponent_range(2) == (-64, 63 + 1)
    assert outlier_exponent_range(4) == (-16, 15 + 7)


@pytest.mark.parametrize("name", INT)
def test_int_codes(name):
    """All codes: two's complement, strictly rising, and each rounds back to itself."""
    row = WEIGHT_FORMATS[name]
    signed = np.arange(-row.q_max - 1, row.q_max + 1)
    weight = empty(name, len(signed), 1)
    weight.slots[:, 0] = signed & ((1 << row.bits) - 1)
    weight.scale[:] = 0.25
    values, _ = integers(weight)
    np.testing.assert_array_equal(values[:, 0], signed)
    np.testing.assert_array_equal(dequantize(weight)[:, 0], signed * 0.25)
    symmetric = signed[1:] * np.float32(0.25)  # the code below -q_max isn't produced
    line = np.stack([symmetric, np.full_like(symmetric, row.q_max * 0.25)], axis=1)
    again, _ = quantize_weight("rtn", line, name, "all codes")
    np.testing.assert_array_equal(dequantize(again)[:, 0], symmetric)


@pytest.mark.parametrize("name", INT)
def test_int_ties_go_to_even_and_the_ends_saturate(name):
    row = WEIGHT_FORMATS[name]
    line = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.499, row.q_max, -row.q_max]
    weight, counts = quantize_weight("rtn", np.float32([line]), name, "ties")
    assert weight.scale[0, 0] == 1
    assert dequantize(weight)[0].tolist() == [0, 2, 2, 0, -2, -2, 0, row.q_max, -row.q_max]
    assert counts["saturated"] == 0
    with pytest.raises(InputError, match=r"layer 'huge': weight\[0, 0\] is 1e\+09; 1 of 2 weights"):
        quantize_weight("rtn", np.float32([[1e9, 1.0]]), name, "huge")


@pytest.mark.parametrize("name", MS)
def test_inlier_codes(name):
    """Sign-magnitude: every code, -0 included, at scales on both sides of 1."""
    row = WEIGHT_FORMATS[name]
    codes = np.arange(1 << row.bits)
    magnitude, negative = codes & row.q_max, codes > row.q_max
    for exponent in (-9, 0, 3):
        weight = empty(name, len(codes), 1)
        weight.slots[:, 0] = codes
        weight.isf[:] = exponent
        expected = np.where(negative, -magnitude, magnitude) * 2.0**exponent
        np.testing.assert_array_equal(dequantize(weight)[:, 0], expected)


@pytest.mark.parametrize("name", MS)
def test_outlier_codes(name):
    """s * (1 + m / 2^mantissa_bits) * 2^E for all s and m: rising, inside one octave."""
    row, half = WEIGHT_FORMATS[name], WEIGHT_FORMATS[name].mantissa_bits // 2
    steps = 1 << row.mantissa_bits
    weight = empty(name, MICRO_BLOCK, 2 * steps)
    weight.isf[:] = -5
    weight.relative_exponent[:] = 3
    weight.pairs[:, :, 0] = 6, 1
    code = np.tile(np.arange(steps), 2)
    sign = np.repeat([0, 1], steps) << (row.bits - 1)
    weight.slots[6], weight.slots[1] = sign | code >> half, sign | code & ((1 << half) - 1)
    value = dequantize(weight)
    magnitude = (1 + np.arange(steps) / steps) * 2.0**-2
    np.testing.assert_array_equal(value[6], np.concatenate([magnitude, -magnitude]))
    assert (np.diff(value[6, :steps]) > 0).all() and value[6, steps - 1] < 2.0**-1
    assert not np.delete(value, 6, axis=0).any()


def _outlier_pair(name: str, first: float, second: float) -> np.ndarray:
    """Return the machine's values of two outliers of one micro-block among small inliers."""
    line = np.tile(np.float32([0.015625, -0.015625]), MACRO_BLOCK // 2)[:, None].copy()
    line[[1, 4], 0] = first, second
    weight, counts = quantize_weight("microscopiq", line, name, "pair")
    assert counts["outliers"] == 2 and counts["pruned"] == 2
    return dequantize(weight)[[1, 4], 0]


@pytest.mark.parametrize("name", MS)
def test_outlier_rounding(name):
    step = 1 / (1 << WEIGHT_FORMATS[name].mantissa_bits)
    for code in range(1 << WEIGHT_FORMATS[name].mantissa_bits):
        assert _outlier_pair(name, 1 + code * step, -1).tolist() == [1 + code * step, -1]
    # Ties go to the even mantissa.
    assert _outlier_pair(name, 1 + 0.5 * step, -(1 + 1.5 * step)).tolist() == [1, -1 - 2 * step]
    # The largest sets E: it saturates below the next octave, smaller ones saturate up to 2^E.
    assert _outlier_pair(name, 2 - 0.1 * step, 0.8).tolist() == [2 - step, 1]
