"""target/formats.py: every code of every format, and how numbers are rounded to them."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.target.codes import Table
from microscopiq.target.errors import ConfigError, InputError
from microscopiq.target.formats import (
    BY_CODE,
    CLUSTER_BITS,
    CLUSTER_GROUP,
    EXPONENT_MIN,
    MACRO_BLOCK,
    MICRO_BLOCK,
    OUTLIER_EXPONENT,
    ROWS_INT8,
    WEIGHT_FORMATS,
    Codes,
    ScaleKind,
    WeightFormat,
    outlier_exponent_range,
)
from microscopiq.target.packing import pack, unpack
from microscopiq.target.scales import COLUMN_SCALES
from microscopiq.target.weight import dequantize, empty, integers
from tests.distinct_formats import method_of

INT = [name for name, row in WEIGHT_FORMATS.items() if row.codes is Codes.TWOS_COMPLEMENT]
TABLES = [name for name, row in WEIGHT_FORMATS.items() if row.codes is Codes.TABLE]
MS = [name for name, row in WEIGHT_FORMATS.items() if row.has_outliers]


@pytest.mark.parametrize("row", WEIGHT_FORMATS.values(), ids=lambda row: row.name)
def test_rows_are_consistent(row):
    assert BY_CODE[row.code] is row and row.code != ROWS_INT8
    assert row.table or row.q_max == 2 ** (row.bits - 1) - 1
    assert row.pe_bits >= row.bits and row.q_max < 1 << (row.pe_bits - 1)
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
    weight.scale[:] = row.column_scale.encode(np.float32(2.0 ** (row.fraction_bits - 2)))
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
    if row.q_max == 1:
        line = [0.5, 1.0, 0.0, -0.5, -1.0, 0.0, 0.499, 1, -1]
    weight, counts = quantize_weight("rtn", np.float32([line]), name, "ties")
    np.testing.assert_allclose(integers(weight)[1][0, 0], 1, rtol=1e-6)
    if row.q_max == 1:
        assert dequantize(weight)[0].tolist() == [0, 1, 0, 0, -1, 0, 0, 1, -1]
        return
    if row.scale is ScaleKind.COLUMN_E4M3:  # its factor is no power of two: ties aren't exact
        return
    assert dequantize(weight)[0].tolist() == [0, 2, 2, 0, -2, -2, 0, row.q_max, -row.q_max]
    assert counts["saturated"] == 0
    if row.scale is not ScaleKind.COLUMN_FP16:  # whose scales reach as far as fp32
        return
    with pytest.raises(InputError, match=r"layer 'huge': weight\[0, 0\] is 1e\+09; 1 of 2 weights"):
        quantize_weight("rtn", np.float32([[1e9, 1.0]]), name, "huge")


@pytest.mark.parametrize("name", TABLES)
def test_every_code_of_a_table_rounds_to_itself(name):
    """As do all numbers to the nearest; halfway the even code wins, as OCP MX's rounding has it."""
    row = WEIGHT_FORMATS[name]
    weight = empty(name, 1 << row.bits, 1)
    weight.slots[:, 0] = np.arange(1 << row.bits)
    weight.scale[:] = row.column_scale.encode(np.float32(1))
    values = dequantize(weight)[:, 0]
    np.testing.assert_array_equal(values, np.array(row.values) * 2.0**-row.fraction_bits)
    largest = np.full_like(values, np.abs(values).max())
    again, counts = quantize_weight("rtn", np.stack([values, largest], axis=1), name, "all codes")
    np.testing.assert_allclose(dequantize(again)[:, 0], values, rtol=1e-6)
    assert counts["saturated"] == 0
    if row.scale is ScaleKind.COLUMN_E4M3:  # its factor is no power of two: ties aren't exact
        return
    code = {value: n for n, value in reversed(list(enumerate(values.tolist())))}
    rising = sorted(code)
    for low, high in itertools.pairwise(rising):
        middle = (low + high) / 2
        even = low if code[low] % 2 == 0 else high
        line = [middle, *np.nextafter(np.float32(middle), [-np.inf, np.inf], dtype=np.float32)]
        found, _ = quantize_weight("rtn", np.float32([[*line, largest[0]]]), name, "middles")
        assert dequantize(found)[0, :3].tolist() == [even, low, high]


def test_minifloats_are_those_of_ocp():
    """Every code of E2M1, E2M3 and E4M3, as another library has them."""
    for name, dtype in (("mxfp4", "float4_e2m1fn"), ("mxfp6", "float6_e2m3fn")):
        row = WEIGHT_FORMATS[name]
        codes = np.arange(1 << row.bits, dtype=np.uint8)
        theirs = codes.view(getattr(ml_dtypes, dtype)).astype(np.float64)
        np.testing.assert_array_equal(np.array(row.values) * 2.0**-row.fraction_bits, theirs)
    e4m3 = COLUMN_SCALES[ScaleKind.COLUMN_E4M3]
    codes = np.arange(127, dtype=np.uint8)
    theirs = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    np.testing.assert_array_equal(e4m3.stored(codes), theirs)
    assert np.isnan(e4m3.stored(np.arange(127, 256, dtype=np.uint8))).all()
    some = np.geomspace(2.0**-9, 600, 5000, dtype=np.float32)
    some = np.concatenate([some, (theirs[1:-1] + theirs[2:]) / 2])
    rounded = np.minimum(some, 448).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    np.testing.assert_array_equal(e4m3.encode(some), rounded)
    assert e4m3.encode(np.float32([0, 1e-9, 1e9])).tolist() == [1, 1, 126]
    e8m0 = COLUMN_SCALES[ScaleKind.COLUMN_E8M0]
    codes = np.arange(1, 255, dtype=np.uint8)
    theirs = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    np.testing.assert_array_equal(e8m0.stored(codes), theirs)
    np.testing.assert_array_equal(e8m0.encode(theirs), codes)
    assert np.isnan(e8m0.stored(np.uint8([0, 255]))).all()


def test_scales_below_normal_numbers_are_refused():
    """An integer of 1 in mxfp4 is half an element: its scale has one exponent less."""
    decode = WEIGHT_FORMATS["mxfp4"].column_scale.decode
    assert (
        np.isnan(decode(np.uint8([1]), 1)[0]) and decode(np.uint8([2]), 1)[0] == 2.0**EXPONENT_MIN
    )


@pytest.mark.parametrize("name", [name for name, row in WEIGHT_FORMATS.items() if row.column_scale])
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-30, 1e4])
def test_any_size_of_weights_can_be_packed(name, size):
    """Scales end somewhere on both sides; what is below them is 0, and what is in reach stays."""
    line = np.float32(size) * np.float32([[1, -0.5, 0.25, 0], [0, 0, 0, 0]])
    weight, _ = quantize_weight(method_of(name), line, name, "small")
    (again,) = unpack(pack([weight]), name, *line.shape)
    np.testing.assert_array_equal(dequantize(again), dequantize(weight))
    if size == 1e4:
        np.testing.assert_allclose(dequantize(weight)[0, 0], size, rtol=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": None}, "codes = TABLE: a table goes with TABLE, and only with it"),
        ({"codes": Codes.TWOS_COMPLEMENT}, "codes = TWOS_COMPLEMENT: a table goes with TABLE"),
        ({"table": Table((0, 1))}, "a table of 2 integers: allowed 4, one for each code"),
        ({"table": Table((0, 1, 128, 3))}, "128 in its table: allowed -127 to 127"),
        ({"table": Table((0, 0, 0, 0))}, "a table of zeros"),
        ({"scale": ScaleKind.ROW_POW2}, "fraction_bits = 1 with ROW_POW2: allowed 0"),
        ({"table": Table((0, 1, 2, 3), 32)}, "fraction_bits = 32: allowed 0 to 31"),
    ],
)
def test_tables_that_no_machine_takes(change, message):
    given = {"codes": Codes.TABLE, "scale": ScaleKind.COLUMN_FP16, "table": Table((0, 1, 2, 3), 1)}
    WeightFormat("own", 99, 2, description="right", **given)
    with pytest.raises(ConfigError, match=f"^weight format 'own': .*{message}"):
        WeightFormat("own", 99, 2, description="wrong", **given | change)


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
