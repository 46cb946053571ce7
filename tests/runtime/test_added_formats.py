"""Formats that are only numbers: a row each, and packing, reference and core compute with them.

Widths that no kernel was written for, groups of other lengths, and scales and outliers apart. The
core learns of them by `add_format`, so that nothing is built.
"""

import dataclasses
import json

import numpy as np
import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.codes import Table
from microscopiq.target.errors import ConfigError, SimError
from microscopiq.target.formats import (
    BY_CODE,
    MICRO_BLOCK,
    WEIGHT_FORMATS,
    Codes,
    ScaleKind,
    WeightFormat,
)
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.gen import format_numbers
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.packing import pack, unpack
from microscopiq.target.weight import dequantize, empty, integers
from tests.runtime.gemm_program import at, gemm, gemm_reference, random_weight

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
add_format = tvm_ffi.get_global_func("microscopiq.runtime.add_format")
TWOS, SIGNS, CLUSTERS = Codes.TWOS_COMPLEMENT, Codes.SIGN_MAGNITUDE, Codes.CLUSTERS
COLUMNS, ROWS = ScaleKind.COLUMN_FP16, ScaleKind.ROW_POW2
SMALL = dataclasses.replace(load_arch("microscopiq-64x64"), array_rows=8, array_cols=8)


def _table(name, code, integers, fraction_bits, scale, group) -> WeightFormat:
    bits, table = len(integers).bit_length() - 1, Table(integers, fraction_bits)
    return WeightFormat(name, code, bits, Codes.TABLE, scale, "a codebook", 0, group, table)


ADDED = [
    WeightFormat("int2", 101, 2, TWOS, COLUMNS, "a width of its own", group=64),
    WeightFormat("int3", 102, 3, TWOS, COLUMNS, "slots across bytes", group=32),
    WeightFormat("int6", 103, 6, TWOS, COLUMNS, "slots across bytes", group=256),
    WeightFormat("sign7", 104, 7, SIGNS, COLUMNS, "signs with factors of columns", group=128),
    WeightFormat("sign8", 105, 8, SIGNS, ROWS, "rows' powers of two alone", group=40),
    WeightFormat("mxint5", 106, 5, TWOS, ROWS, "rows' powers of two alone", group=64),
    WeightFormat("ms4-g32", 107, 4, SIGNS, ROWS, "outliers in short groups", 4, group=32),
    _table("table2", 109, (-3, 0, 1, 127), 2, ScaleKind.COLUMN_E8M0, 104),
    _table("table5", 110, tuple(n * n % 63 - 31 for n in range(32)), 0, ScaleKind.COLUMN_E4M3, 24),
    _table("table8", 111, tuple(n * 37 % 255 - 127 for n in range(256)), 7, COLUMNS, 48),
    WeightFormat("fineq-g64", 108, 3, CLUSTERS, COLUMNS, "clusters in short groups", group=64),
]


def add(row: WeightFormat) -> None:
    numbers = [number for _, _, number in format_numbers(row)]
    add_format(row.name, numbers, list(row.values))


@pytest.fixture(params=ADDED, ids=lambda row: row.name)
def row(request, monkeypatch):
    """Return a format that Python and the core know during a test."""
    monkeypatch.setitem(WEIGHT_FORMATS, request.param.name, request.param)
    monkeypatch.setitem(BY_CODE, request.param.code, request.param)
    add(request.param)
    return request.param


def test_packing_inverts_itself(row):
    """Panels of the format's group, from every byte a code of its own."""
    batch = [random_weight(row.name, 140, 300, seed) for seed in (1, 2)]
    segment = pack(batch)
    panels = 2 * -(-300 // row.group)  # of 128 and of 12 columns
    assert int.from_bytes(segment[:4], "little") == 2 * panels
    for found, weight in zip(unpack(segment, row.name, 140, 300), batch, strict=True):
        for name in ("slots", "scale", "isf", "relative_exponent", "pairs", "pattern", "factor"):
            np.testing.assert_array_equal(getattr(found, name), getattr(weight, name), name)


def test_integers_of_every_code(row):
    """Two's complement or sign and magnitude, times the scale of a group or of a row."""
    codes = np.arange(1 << row.bits)
    half = 1 << (row.bits - 1)
    expected = np.where(
        codes < half, codes, codes - 2 * half if row.codes is TWOS else half - codes
    )
    if row.table:
        expected = np.array(row.table.integers)
    weight = empty(row.name, len(codes), row.group + 1)
    weight.slots[:] = codes[:, None]
    if weight.scale is not None:
        weight.scale[:] = row.column_scale.encode(np.float32([[0.5], [2.0]]))  # of either group
        factors = np.repeat([0.5, 2.0], [row.group, 1]) * 2.0**-row.fraction_bits
    else:
        weight.isf[:] = np.arange(row.group + 1) % 5 - 3
        factors = 2.0 ** weight.isf[0]
    values, scale = integers(weight)
    assert scale.shape == (2, len(codes))
    np.testing.assert_array_equal(values[:, row.group] >> row.guard_bits, expected)
    np.testing.assert_array_equal(dequantize(weight), expected[:, None] * factors)


@pytest.mark.parametrize("mode", ["fast", "structural"])
@pytest.mark.parametrize("shape", [(3, 70, 21), (2, 300, 9)], ids=str)
def test_the_core_computes_with_it(row, shape, mode, core_run):
    (m, k, n), spread = shape, 11 if row.scale is ROWS and row.bits < 8 else 3
    weight = random_weight(row.name, n, k, spread=spread)
    rng = np.random.default_rng(m)
    x, bias = (rng.standard_normal(size).astype(np.float32) for size in ((m, k), n))
    function = gemm(SMALL, weight, m)
    expected = gemm_reference(weight, x, bias, SMALL.array_rows)
    judge = np.zeros((m, n), np.float32)
    run(function, SMALL, [x, bias, judge])
    np.testing.assert_array_equal(judge, expected)
    for y in core_run(function, [x, bias], np.zeros((m, n), np.float32), mode):
        np.testing.assert_array_equal(y, expected)


@pytest.fixture
def core_run():
    """Return a function that yields a call's output by each variant of the kernels."""
    select = tvm_ffi.get_global_func("microscopiq.runtime.select_kernels")
    variants = list(tvm_ffi.get_global_func("microscopiq.runtime.kernels")())

    def outputs(function, inputs, output, mode):
        module = create(Program.for_arch(SMALL, {"gemm": function}).to_bytes())
        module["microscopiq.set_mode"](mode)
        for variant in variants:
            select(variant)
            output[:] = np.nan
            module["gemm"](*map(tvm_ffi.from_dlpack, [*inputs, output]))
            json.loads(module["microscopiq.stats"]())
            yield output

    yield outputs
    select(variants[0])


def preloaded(row: WeightFormat, inputs: int) -> Function:
    """Return a function that preloads 4 x 4 of a panel of zeros with so many rows."""
    code = [isa.Clip(0, 4, 4, at()), isa.DmaWeight(at(), at(), 999), isa.Post(1, 0), isa.Wait(3, 0)]
    code += [isa.Preload(at(), at(), row.code, at(), at(), 0, 0), isa.End()]
    segment = pack([empty(row.name, MICRO_BLOCK, inputs)])
    return Function("f", "", (Argument("y", "int8", (1,), True),), tuple(code), segment)


def call(function: Function, arch) -> None:
    module = create(Program.for_arch(arch, {"f": function}).to_bytes())
    module["f"](tvm_ffi.from_dlpack(np.zeros(1, np.int8)))


@pytest.mark.parametrize("row", ADDED[:1], indirect=True, ids=lambda row: row.name)
def test_temporal_pes_count_clusters_alone(row):
    """Their time is counted from the magnitudes of clusters; another weight would take none."""
    fineq = load_arch("fineq-64x64")
    with pytest.raises(SimError, match="format int2 on temporal PEs; allowed: clusters"):
        call(preloaded(row, 8), fineq)
    call(preloaded(row, 8), dataclasses.replace(fineq, temporal_cycles=0))


def test_a_panel_longer_than_the_group(monkeypatch):
    row = WeightFormat("short", 120, 4, TWOS, COLUMNS, "panels of 8 rows", group=8)
    longer = dataclasses.replace(row, group=9)
    add(row)
    monkeypatch.setitem(WEIGHT_FORMATS, "short", longer)
    monkeypatch.setitem(BY_CODE, 120, longer)
    function = preloaded(longer, 9)
    with pytest.raises(SimError, match="wbuf address 0x0: a panel of 9x8; allowed: 8x128"):
        call(function, SMALL)
    monkeypatch.setitem(BY_CODE, 120, row)
    with pytest.raises(SimError, match="a panel of 9 rows; a group has 8"):
        run(function, SMALL, [np.zeros(1, np.int8)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 1}, "bits = 1: allowed 2 to 8"),
        ({"bits": 9}, "bits = 9: allowed 2 to 8"),
        ({"code": 0}, "code = 0: allowed 1 to 255"),
        ({"group": 257}, "group = 257: allowed 1 to 256"),
        (
            {"mantissa_bits": 2},
            "outliers in 3 bits of TWOS_COMPLEMENT with COLUMN_FP16: allowed 2,",
        ),
    ],
)
def test_rows_that_no_machine_decodes(change, message):
    with pytest.raises(ConfigError, match=f"^weight format 'int3': {message}"):
        dataclasses.replace(ADDED[1], **change)


@pytest.mark.parametrize(
    ("bits", "outliers", "message"),
    [(1, 0, "slots of 1 bits; allowed: 2 to 8"), (3, 1, "with outliers; allowed: 2, 4, 8")],
)
def test_the_core_refuses_what_it_cannot_decode(bits, outliers, message):
    numbers = {name: number for _, name, number in format_numbers(ADDED[1])}
    numbers |= {"bits": bits, "has_outliers": outliers}
    with pytest.raises(ConfigError, match=message):
        add_format("odd", list(numbers.values()), [0] * (1 << bits))
    with pytest.raises(ConfigError, match="14 numbers and 3 integers; allowed: 14 and one"):
        add_format("odd", list(numbers.values()), [0] * 3)
