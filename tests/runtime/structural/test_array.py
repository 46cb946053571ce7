"""runtime/src/structural: every PE and switch, against the fast mode and against the paper."""

import dataclasses
import json

import numpy as np
import pytest
import tvm_ffi
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError, SimError
from microscopiq.target.formats import ACTIVATION_BITS, WEIGHT_FORMATS
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem
from microscopiq.target.packing import pack
from microscopiq.target.weight import empty, integers
from tests.distinct_formats import DISTINCT
from tests.runtime.gemm_program import at, gemm, random_weight
from tests.runtime.ordered import ordered

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
recon_plan = tvm_ffi.get_global_func("microscopiq.runtime.recon_plan")
switch_commands = tvm_ffi.get_global_func("microscopiq.runtime.switch_commands")

TINY, SMALL, BIG = (
    dataclasses.replace(load_arch(name), pair_decoders=1)
    for name in ("tiny-4x4", "microscopiq-8x8", "microscopiq-64x64")
)
MODES = ("fast", "structural")
WITH_OUTLIERS = [name for name, row in WEIGHT_FORMATS.items() if row.has_outliers]
MAX_ROWS, INPUTS = 6, 64
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def call(module, name, arrays, output, mode):
    """Return the output and the record of a call in a mode."""
    found = np.zeros_like(output)
    module["microscopiq.set_mode"](mode)
    module["microscopiq.reset"]()
    module[name](*map(tvm_ffi.from_dlpack, [*arrays, found]))
    (record,) = json.loads(module["microscopiq.stats"]())
    return found, record


def tile(arch, x, weight=None, rows=None, accumulate=False):
    """Return a module for one plane: sums of x (m, k) with a weight or an int8 operand (n, k)."""
    m, k = x.shape
    n = (rows if weight is None else weight.slots).shape[0]
    sizes = enumerate((m, k, n, 1))
    code = [isa.Clip(reg, size, size, at()) for reg, size in sizes]
    code += [isa.DmaLoad(Mem.SPAD, at(), k, 0, at(), k, 1, 1, 0, 1)]
    if weight is None:
        code += [isa.DmaLoad(Mem.WBUF, at(), k, 1, at(), k, 1, 1, 2, 1)]
        code += [isa.PreloadRows(at(), at(), k, 1, 2)]
    else:
        part = (at(), at(), weight.row.code, at(), at(), 1, 2)
        code += [isa.DmaWeight(at(), at(), arch.wbuf_bytes), isa.Preload(*part)]
        code += [isa.ReconConfig(*part)] if weight.row.has_outliers else []
    for again in range(1 + accumulate):
        code += [isa.Matmul(at(), at(), k, at(), 4 * n, 0, at(again))]
    inputs = [x] if weight is not None else [x, rows]
    code += [isa.DmaStore(len(inputs), at(), 4 * n, 4, Mem.ACC, at(), 4 * n, 4, 0, 2), isa.End()]
    arguments = [Argument(f"a{i}", "int8", a.shape) for i, a in enumerate(inputs)]
    arguments += [Argument("y", "float32", (m, n), True)]
    segment = b"" if weight is None else pack([weight])
    function = Function("tile", "", tuple(arguments), tuple(ordered(code)), segment)
    return create(Program.for_arch(arch, {"tile": function}).to_bytes()), inputs


def sums(module, inputs, shape, mode="structural"):
    found, record = call(module, "tile", inputs, np.zeros(shape, np.float32), mode)
    return found.view(np.int32), record


def both(arch, x, weight=None, rows=None, accumulate=False):
    """Return a tile's sums and record, the same in both modes."""
    module, inputs = tile(arch, x, weight, rows, accumulate)
    shape = (len(x), len(rows if weight is None else weight.slots))
    (fast, record), (stepped, measured) = (sums(module, inputs, shape, mode) for mode in MODES)
    np.testing.assert_array_equal(stepped, fast)
    assert measured == record
    return fast, record


def variant(arch, draw):
    return dataclasses.replace(
        arch,
        recon_units=draw(st.sampled_from([1, 2, 4])),
        recon_waits=draw(st.sampled_from([0, 1])),
        skew_columns=draw(st.sampled_from([1, 8])),
        recon_segment_columns=draw(st.sampled_from([0, 8])),
        edge_trimming=draw(st.integers(0, 1)),
        weight_buses=draw(st.sampled_from([1, 1, 2, 3, arch.array_rows])),
        row_release=draw(st.integers(0, 1)),
    )


@settings(max_examples=80, phases=PHASES)
@given(st.data())
def test_programs_agree_in_every_bit_and_cycle(data):
    arch = variant(data.draw(st.sampled_from([TINY, SMALL])), data.draw)
    name = data.draw(st.sampled_from(DISTINCT))
    m, k, n = (data.draw(st.integers(1, limit)) for limit in (MAX_ROWS, 140, 37))
    seed, flagged = data.draw(st.integers(0, 1 << 32)), data.draw(st.sampled_from([0.02, 0.2, 1]))
    weight = random_weight(name, n, k, seed, flagged=flagged)
    function = gemm(arch, weight, m, data.draw(st.sampled_from(ACTIVATION_BITS)))
    module = create(Program.for_arch(arch, {"gemm": function}).to_bytes())
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), n)]
    output = np.zeros((m, n), np.float32)
    (fast, record), (stepped, measured) = (
        call(module, "gemm", arrays, output, mode) for mode in MODES
    )
    np.testing.assert_array_equal(stepped.view(np.int32), fast.view(np.int32))
    assert measured == record


# The last micro-block of the array is cut: 12 = 8 + 4, 14 = 8 + 6, 20 = 8 + 8 + 4 columns.
@pytest.mark.parametrize("trim", [0, 1])
@pytest.mark.parametrize(("columns", "segment"), [(12, 0), (14, 0), (20, 0), (20, 8), (20, 16)])
@pytest.mark.parametrize("name", WITH_OUTLIERS)
def test_columns_that_cut_a_micro_block(name, columns, segment, trim):
    arch = dataclasses.replace(
        TINY,
        array_rows=8,
        array_cols=columns,
        multi_precision=0,
        recon_segment_columns=segment,
        edge_trimming=trim,
    )
    weight = random_weight(name, columns, 8, flagged=0.8)
    x = np.random.default_rng(4).integers(-128, 128, (5, 8), np.int8)
    found, record = both(arch, x, weight)
    np.testing.assert_array_equal(found, x.astype(np.int64) @ integers(weight)[0].T)
    assert record["recon"]["passes"] > 0


# Weights that share a PE, fill it, join several; and a PE that holds one narrow weight.
@pytest.mark.parametrize(("pe_weight_bits", "multi_precision"), [(2, 1), (4, 1), (8, 1), (8, 0)])
@pytest.mark.parametrize("name", [*DISTINCT, "rows"])
@settings(max_examples=15, phases=PHASES)
@given(st.data())
def test_every_pe_holds_every_format(pe_weight_bits, multi_precision, name, data):
    arch = variant(SMALL, data.draw)
    cols = 8 if not multi_precision else 32 // pe_weight_bits
    arch = dataclasses.replace(
        arch, array_cols=cols, pe_weight_bits=pe_weight_bits, multi_precision=multi_precision
    )
    bits = 8 if name == "rows" else WEIGHT_FORMATS[name].pe_bits
    m, k = data.draw(st.integers(1, MAX_ROWS)), data.draw(st.integers(1, 8))
    n = data.draw(st.integers(1, arch.columns(bits)))
    seed = data.draw(st.integers(0, 1 << 32))
    rng = np.random.default_rng(seed)
    x, rows = (rng.integers(-128, 128, (size, k), np.int8) for size in (m, n))
    if name == "rows":
        found, _ = both(arch, x, rows=rows, accumulate=True)
        values = rows
    else:
        weight = random_weight(name, n, k, seed, flagged=0.5)
        found, _ = both(arch, x, weight, accumulate=True)
        values = integers(weight)[0]
    np.testing.assert_array_equal(found, 2 * (x.astype(np.int64) @ values.astype(np.int64).T))


def in_turns(arch, weights, rows):
    """Stream so many rows through one of two planes, then the other, without a pause."""
    code = [isa.Clip(0, MAX_ROWS, MAX_ROWS, at()), isa.Clip(1, INPUTS, INPUTS, at())]
    code += [isa.DmaLoad(Mem.SPAD, at(), INPUTS, 0, at(), INPUTS, 1, 1, 0, 1)]
    for plane, weight in enumerate(weights):
        n, k = weight.slots.shape
        part = (at(plane), at(0), weight.row.code, at(), at(), 2, 3)
        code += [isa.Clip(2, k, k, at()), isa.Clip(3, n, n, at())]
        code += [isa.DmaWeight(at(), at(plane), arch.wbuf_bytes), isa.Preload(*part)]
        code += [isa.ReconConfig(*part)] if weight.row.has_outliers else []
    for number, m in enumerate(rows):
        acc = at(number % 2 * 512)
        code += [isa.Clip(4, m, m, at())]
        code += [isa.Matmul(at(number % 2), at(), INPUTS, acc, 80, 4, at(number > 1))]
    store = isa.DmaStore(1, at(), 1024, 1, Mem.ACC, at(), 1024, 1, 5, 6)
    code += [isa.Clip(5, 1, 1, at()), isa.Clip(6, 1024, 1024, at()), store, isa.End()]
    x = np.random.default_rng(0).integers(-128, 128, (MAX_ROWS, INPUTS), np.int8)
    arguments = (Argument("x", "int8", x.shape), Argument("y", "int8", (1024,), True))
    function = Function("f", "", arguments, tuple(ordered(code)), pack(weights))
    module = create(Program.for_arch(arch, {"f": function}).to_bytes())
    module["microscopiq.set_debug"](False)  # not all of `acc` is written
    output = np.zeros(1024, np.int8)
    (fast, record), (stepped, measured) = (call(module, "f", [x], output, mode) for mode in MODES)
    np.testing.assert_array_equal(stepped, fast)
    assert measured == record
    return record


@settings(max_examples=100, phases=PHASES)
@given(st.data())
def test_matmuls_share_the_array(data):
    """At the end of a call all its matmuls are stepped together, as they overlapped."""
    arch = variant(data.draw(st.sampled_from([SMALL, BIG])), data.draw)
    name = data.draw(st.sampled_from(DISTINCT))
    row = WEIGHT_FORMATS[name]
    limits = (min(arch.array_rows, row.group), arch.columns(row.pe_bits))
    shapes = [[data.draw(st.integers(1, min(20, limit))) for limit in limits] for _ in range(2)]
    flagged, seed = data.draw(st.sampled_from([0.03, 0.1, 0.5])), data.draw(st.integers(0, 1 << 32))
    weights = [random_weight(name, n, k, seed + k, flagged=flagged) for k, n in shapes]
    in_turns(arch, weights, data.draw(st.lists(st.integers(1, MAX_ROWS), min_size=2, max_size=8)))


@settings(max_examples=60, phases=PHASES)
@given(st.data())
def test_short_planes_go_down_behind_tall_ones(data):
    """Their sums leave in order, at the depth and in the cycle that the timing says."""
    arch = variant(data.draw(st.sampled_from([SMALL, BIG])), data.draw)
    # Each of the planes is bare, or has a few outliers, or one in every row.
    flagged, weights = [data.draw(st.sampled_from([0, 0.05, 1])) for _ in range(2)], []
    for most, part in zip((arch.array_rows, 3), flagged, strict=True):
        rows, cols = data.draw(st.integers(1, most)), data.draw(st.integers(1, 20))
        seed = data.draw(st.integers(0, 1 << 32))
        weights.append(random_weight("ms2", min(cols, arch.columns(2)), rows, seed, flagged=part))
    in_turns(arch, weights, data.draw(st.lists(st.integers(1, MAX_ROWS), min_size=2, max_size=8)))


@pytest.mark.parametrize("trim", [0, 1])
def test_a_short_plane_starts_right_behind_a_tall_one(trim):
    arch = dataclasses.replace(BIG, edge_trimming=trim)
    weights = [random_weight("int4", 16, rows) for rows in (64, 3)]
    cycles = in_turns(arch, weights, [6, 2, 6, 2, 6])["units"]["array"]
    assert cycles["busy"] == 22
    # What is left is behind the last of them: the tall plane's own rows and columns.
    assert cycles["fill_drain"] == 64 + (16 if trim else 64) - 2


ONE_PASS, TWO_PASSES = (0, 2), (3, 6)


@pytest.mark.parametrize(
    ("segment", "columns", "planes", "rows"),
    [
        # The second plane's row 5 waits for its network; the first one's must not overtake it.
        (0, 8, [(8, {5: TWO_PASSES}), (8, {5: ONE_PASS, 7: ONE_PASS})], [5, 6, 4, 2, 3, 1, 1, 2]),
        # Columns 8 to 15 have no outliers: sums of the short plane leave there no sooner.
        (8, 16, [(2, {}), (1, {0: ONE_PASS})], [1, 1, 1, 1]),
        # Behind a row that ReCoN holds back, one without outliers starts later.
        (0, 8, [(8, {0: TWO_PASSES}), (8, {})], [3, 3, 3]),
    ],
)
def test_matmuls_that_once_met(segment, columns, planes, rows):
    arch = dataclasses.replace(SMALL, recon_segment_columns=segment)
    weights = []
    for inputs, pairs in planes:
        weight = random_weight("ms2", columns, inputs, flagged=0)
        for row, pair in pairs.items():
            weight.pairs[0, row, 0], weight.relative_exponent[0, row] = pair, 0
        weights.append(weight)
    in_turns(arch, weights, rows)


def passes_of(weight, strip_columns):
    """Return (strip, row, passes) of a weight whose tile starts in column 0."""
    found = {}
    for micro, k in zip(*np.nonzero((weight.pairs >= 0).any((2, 3))), strict=True):
        pairs = weight.pairs[micro, k]
        route = switch_commands([int(c) for pair in pairs if pair[0] >= 0 for c in pair])
        key = (int(k), int(micro) * 8 // strip_columns)
        found[key] = max(found.get(key, 0), len(list(route["entering"])))
    return [(strip, k, passes) for (k, strip), passes in sorted(found.items())]


@pytest.mark.parametrize(("units", "segment"), [(1, 0), (2, 0), (1, 8)])
@pytest.mark.parametrize("name", [n for n in WITH_OUTLIERS if WEIGHT_FORMATS[n].group >= 64])
def test_a_whole_tile(name, units, segment):
    arch = dataclasses.replace(BIG, recon_units=units, recon_segment_columns=segment)
    columns = arch.columns(WEIGHT_FORMATS[name].pe_bits)
    weight = random_weight(name, columns, 64, flagged=0.1)
    x = np.random.default_rng(2).integers(-127, 128, (5, 64), np.int8)
    found, record = both(arch, x, weight)
    np.testing.assert_array_equal(found, x.astype(np.int64) @ integers(weight)[0].T)
    width = segment or columns
    visits = passes_of(weight, width)
    numbers = [number for visit in visits for number in visit]
    ranks = int(np.log2(width)) + 1
    period, starts, *_ = recon_plan(64, columns, width, ranks, units, numbers)["totals"]
    array = record["units"]["array"]
    assert array["busy"] + array["recon"] == (5 - 1) * period // starts + 1
    total = sum(passes for *_, passes in visits)
    second = sum(passes - 1 for *_, passes in visits)
    assert record["recon"]["passes"] == 5 * total > 5 * 20
    assert record["recon"]["second_passes"] == 5 * second > 0


@pytest.mark.parametrize("bits", [16, 20, 32])
def test_saturates_where_fast_mode_does(bits):
    arch = dataclasses.replace(SMALL, accumulator_bits=bits)
    weight = random_weight("ms4", 8, 8, flagged=0.5, spread=8, far=9)
    x = np.random.default_rng(3).choice(np.array([-128, 127], np.int8), (6, 8))
    _, record = both(arch, x, weight, accumulate=True)
    assert (record["saturations"] > 0) == (bits < 32)


def outliers(name, pairs, rows=1, relative=0):
    """Return a weight of 8 columns whose last row has these (column, slot) halves, else +1."""
    weight = empty(name, 8, rows)
    weight.slots[:] = 1
    weight.isf[:] = 0
    for entry, ((upper, upper_slot), (lower, lower_slot)) in enumerate(pairs):
        weight.pairs[0, -1, entry] = (upper, lower)
        weight.slots[upper, -1], weight.slots[lower, -1] = upper_slot, lower_slot
        weight.relative_exponent[0, -1] = relative
    return weight


def test_the_example_of_figure_8():
    # Outlier 1.5: Upper 01, Lower 00; iAct 32, iAcc 8: 8 + 16 + 0 + 32, and two guard bits.
    weight = outliers("ms2", [((0, 0b01), (2, 0b00))], rows=2)
    found, _ = both(SMALL, np.array([[8, 32]], np.int8), weight)
    assert found[0, 0] == 56 << 2
    assert found[0, 2] == 8 << 2  # the Lower's column goes on with its iAcc alone
    assert (found[0, [1, 3, 4, 5, 6, 7]] == (8 + 32) << 2).all()


@pytest.mark.parametrize("iact", [-128, -3, 0, 1, 127])
@pytest.mark.parametrize("name", WITH_OUTLIERS)
def test_every_pair_of_halves(name, iact):
    row = WEIGHT_FORMATS[name]
    half, sign = row.mantissa_bits // 2, 1 << (row.bits - 1)
    for upper in range(1 << half):
        for lower in range(1 << half):
            for negative in (0, sign):
                pair = ((5, upper | negative), (4, lower | negative))
                found, _ = both(SMALL, np.array([[iact]], np.int8), outliers(name, [pair]))
                mantissa = (1 << 2 * half) + (upper << half) + lower
                assert found[0, 5] == (-mantissa if negative else mantissa) * iact
                assert found[0, 4] == 0


# MicroScopiQ Fig. 3. 0110b is +1.5 * 2^1: Upper 01, Lower 00. 1111b is -1.75 * 2^1: 11 and 11.
FIGURE_3 = {
    ((0, 2), (3, 6)): 2,
    ((0, 3), (1, 5), (4, 7)): 1,
    ((0, 5), (1, 4), (2, 7), (3, 6)): 2,
}


@pytest.mark.parametrize("columns", FIGURE_3)
def test_the_lists_of_figure_3(columns):
    halves = [((0b01, 0b00), 3), ((0b11, 0b11), -3.5)]
    pairs, want = [], np.full(8, 4 * 10)
    for entry, (upper, lower) in enumerate(columns):
        (upper_slot, lower_slot), value = halves[entry % 2]
        pairs.append(((upper, upper_slot), (lower, lower_slot)))
        want[[upper, lower]] = 4 * 10 * value, 0
    found, record = both(SMALL, np.array([[10]] * 3, np.int8), outliers("ms2", pairs, relative=1))
    np.testing.assert_array_equal(found, [want] * 3)
    passes = FIGURE_3[columns]
    assert record["recon"]["passes"] == 3 * passes
    assert record["recon"]["second_passes"] == 3 * (passes - 1)
    assert record["units"]["array"]["recon"] == 2 * (passes - 1)


def test_a_wrong_command_changes_the_sums():
    """The judge can fail: a switch that obeys another command than the one of its list."""
    columns = ((0, 3), (1, 5), (4, 7))
    pairs = [((upper, 0b011), (lower, 0b010)) for upper, lower in columns]
    x = np.array([[77]], np.int8)
    module, inputs = tile(SMALL, x, outliers("ms4", pairs))
    right, _ = sums(module, inputs, (1, 8))
    commands = np.array(list(switch_commands(np.ravel(columns).tolist())["commands"]))
    wrong = harmless = 0
    for rank, column in zip(*np.nonzero(commands.reshape(4, 8)), strict=True):
        for command in range(8):
            module["microscopiq.set_stuck_switch"](int(rank), int(column), command)
            try:
                same = (sums(module, inputs, (1, 8))[0] == right).all()
            except SimError as error:
                assert "internal: " in str(error)
                same = False
            own = commands.reshape(4, 8)[rank, column]
            # Exchanging with an empty cross link is sending to the right.
            assert same == (command in ({own, 1} if own == 6 else {own})), (rank, column, command)
            wrong, harmless = wrong + (not same), harmless + (same and command != own)
    assert (wrong, harmless) == (6 * 7 - 3, 3)
    module["microscopiq.set_stuck_switch"](-1, 0, 0)
    np.testing.assert_array_equal(sums(module, inputs, (1, 8))[0], right)


def test_what_is_refused():
    x, weight = np.ones((1, 4), np.int8), random_weight("int4", 4, 4)
    module, inputs = tile(dataclasses.replace(SMALL, pe_weight_bits=6), x, weight)
    sums(module, inputs, (1, 4), "fast")
    with pytest.raises(SimError, match="pe_weight_bits = 6; allowed: 2, 4, 8"):
        sums(module, inputs, (1, 4))
    with pytest.raises(ConfigError, match="mode 'exact'; allowed: fast, structural"):
        module["microscopiq.set_mode"]("exact")
    with pytest.raises(ConfigError, match="command 8; allowed: 0 to 7"):
        module["microscopiq.set_stuck_switch"](0, 0, 8)
