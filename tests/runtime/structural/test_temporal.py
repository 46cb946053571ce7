"""FineQ's machine: values and cycles of temporal PEs by hand, and as their structure steps them."""

import dataclasses
import json

import numpy as np
import pytest
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.clusters import group_bytes
from microscopiq.target.errors import IsaError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem, Unit
from microscopiq.target.packing import pack
from microscopiq.target.weight import empty, integers
from tests.cluster_weights import fill_clusters
from tests.runtime.gemm_program import at, gemm, gemm_reference, random_weight

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
BIG = load_arch("fineq-64x64")
SMALL = dataclasses.replace(BIG, array_rows=8, array_cols=8)
CYCLES = (1, 3, 4)
FINEQ, HEADER = 5, 4
quick = settings(max_examples=30)


def weight_of(out, inputs, seed=0, wide=True):
    """Return a weight in clusters with scales of 1."""
    weight = empty("fineq", out, inputs)
    fill_clusters(weight, np.random.default_rng(seed), wide)
    weight.scale[:] = 1
    return weight


def call(code, arch, weights, x, sums, mode="fast"):
    """Run a function of one input and one output; return its record."""
    arguments = (
        Argument("x", "int8", x.shape),
        Argument("sums", "float32", sums.shape, is_output=True),
    )
    function = Function("f", "", arguments, (*code, isa.End()), weights)
    module = create(Program.for_arch(arch, {"f": function}).to_bytes())
    module["microscopiq.set_mode"](mode)
    module["f"](tvm_ffi.from_dlpack(x), tvm_ffi.from_dlpack(sums))
    return json.loads(str(module["microscopiq.stats"]()))[0]


def one_tile(weight, x, arch=SMALL, row0=0, col0=0, shape=None, mode="fast"):
    """Stream x through a part of a weight's only panel; return int32 sums and the record."""
    out, inputs = weight.slots.shape
    rows, cols = shape or (inputs, out)
    m = len(x)
    code = [
        *(isa.Clip(reg, size, size, at()) for reg, size in enumerate((m, rows, cols))),
        isa.DmaWeight(at(), at(), arch.wbuf_bytes),
        isa.DmaLoad(Mem.SPAD, at(), rows, 0, at(), rows, 1, 1, 0, 1),
        *(isa.Post(Unit.DMA_IN, 0), isa.Post(Unit.DMA_IN, 1)),
        isa.Wait(Unit.WLOAD, 0),
        isa.Preload(at(), at(), FINEQ, at(row0), at(col0), 1, 2),
        *(isa.Post(Unit.WLOAD, 2), isa.Wait(Unit.ARRAY, 1), isa.Wait(Unit.ARRAY, 2)),
        isa.Matmul(at(), at(), rows, at(), 4 * cols, 0, at()),
        *(isa.Post(Unit.ARRAY, 3), isa.Wait(Unit.DMA_OUT, 3)),
        isa.DmaStore(1, at(), 4 * cols, 4, Mem.ACC, at(), 4 * cols, 4, 0, 2),
    ]
    sums = np.zeros((m, cols), np.float32)
    record = call(code, arch, pack([weight]), np.ascontiguousarray(x), sums, mode)
    return sums.view(np.int32), record


def activations(m, rows, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, (m, rows), dtype=np.int8)


@pytest.mark.parametrize("cycles", CYCLES)
@pytest.mark.parametrize("wide", [False, True])
def test_cycles_of_a_tile(cycles, wide):
    """A row stays one cycle where no weight is beyond 1, else all cycles of a stream."""
    arch = dataclasses.replace(SMALL, temporal_cycles=cycles)
    weight, x = weight_of(8, 8, wide=wide), activations(40, 8)
    values = integers(weight)[0]
    assert np.abs(values).max() == (3 if wide else 1)
    sums, record = one_tile(weight, x, arch)
    np.testing.assert_array_equal(sums, x.astype(int) @ values.T)
    stay = cycles if wide else 1
    array = record["units"]["array"]
    assert array["busy"] == 40 and array["temporal"] == 40 * (stay - 1)
    assert record["temporal_adds"] == 40 * np.abs(values).sum()
    assert record["weight_bits"] == 3 and record["macs"] == 40 * 64
    # From the plane's load, a row a cycle, to the last sum.
    window = 8 + 40 * stay + 8 + 8 - 2
    assert record["array_window"] == window


def test_weights_of_two_take_the_whole_stream():
    """The wire that says so is the OR of the upper magnitude bits: it tells 1 from more."""
    weight = weight_of(8, 6, wide=False)
    weight.slots[:] &= 0b001
    weight.pattern[3, 0], weight.slots[3] = 3, [1, 2, 0, 0, 1, 0]
    _, record = one_tile(weight, activations(5, 6))
    assert record["units"]["array"]["temporal"] == 5 * 2
    plain = dataclasses.replace(BIG, temporal_cycles=0, pe_weight_bits=4)
    _, record = one_tile(weight, activations(5, 6), plain)
    assert record["units"]["array"]["temporal"] == record["temporal_adds"] == 0


@pytest.mark.parametrize(("wide", "stay"), [(False, 1), (True, 3)])
def test_a_short_plane_leaves_behind_the_last_cycle_of_a_tall_one(wide, stay):
    """Rows that stay longer keep the array, and its exit, for as long."""
    weights, x = [weight_of(8, rows, wide=wide) for rows in (8, 1)], activations(2, 8)
    code = [*(isa.Clip(reg, size, size, at()) for reg, size in enumerate((2, 8, 1)))]
    code += [isa.DmaLoad(Mem.SPAD, at(), 8, 0, at(), 8, 1, 1, 0, 1)]
    code += [isa.DmaWeight(at(512 * plane), at(plane), 512) for plane in (0, 1)]
    # The array starts when both planes are there.
    code += [isa.Post(Unit.DMA_IN, 0), isa.Wait(Unit.WLOAD, 0)]
    for plane, rows in enumerate((1, 2)):
        code += [isa.Preload(at(plane), at(512 * plane), FINEQ, at(), at(), rows, 1)]
    code += [isa.Post(Unit.WLOAD, 1), isa.Wait(Unit.ARRAY, 1)]
    code += [isa.Matmul(at(plane), at(), 8, at(64 * plane), 32, 0, at()) for plane in (0, 1)]
    code += [isa.Post(Unit.ARRAY, 2), isa.Wait(Unit.DMA_OUT, 2)]
    code += [isa.DmaStore(1, at(), 32, 4, Mem.ACC, at(), 32, 4, 0, 1)]
    record = call(code, SMALL, pack(weights), x, np.zeros((2, 8), np.float32))
    array = record["units"]["array"]
    assert array["busy"] + array["temporal"] == 2 * 2 * stay
    # The first one's last sum leaves its 8 rows in cycle 2 x stay - 1 + 7. The second starts in
    # cycle 2 x stay; its first sum leaves a cycle later than that, behind 8 rows too.
    assert record["array_window"] == 8 + 1 + 4 * stay + 8 + 8 - 2


@pytest.mark.parametrize(("row0", "rows"), [(0, 8), (20, 8), (24, 8), (40, 3), (119, 8), (127, 1)])
def test_a_part_reads_the_groups_that_it_needs(row0, rows):
    weight, x = weight_of(11, 128), activations(3, rows)
    sums, record = one_tile(weight, x, row0=row0, col0=4, shape=(rows, 6))
    values = integers(weight)[0][4:10, row0 : row0 + rows]
    np.testing.assert_array_equal(sums, x.astype(int) @ values.T)
    groups = range(row0 // 24, (row0 + rows - 1) // 24 + 1)
    wanted = HEADER + 6 * sum(group_bytes(min(24, 128 - 24 * group)) for group in groups)
    assert record["memory_bytes"]["wbuf"]["read"] == wanted
    assert record["units"]["wload"]["busy"] == rows


@pytest.mark.parametrize("shape", [(5, 130, 37), (13, 300, 200), (1, 1, 1)])
@pytest.mark.parametrize("arch", [SMALL, BIG], ids=["8x8", "64x64"])
@pytest.mark.parametrize("cycles", CYCLES)
def test_gemm_is_exact_and_its_cycles_add_up(core, arch, shape, cycles):
    (m, k, n), arch = shape, dataclasses.replace(arch, temporal_cycles=cycles)
    weight, rng = random_weight("fineq", n, k), np.random.default_rng(m)
    x, bias = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), n))
    module = create(Program.for_arch(arch, {"gemm": gemm(arch, weight, m)}).to_bytes())
    y = np.zeros((m, n), np.float32)
    module["gemm"](*map(tvm_ffi.from_dlpack, (x, bias, y)))
    np.testing.assert_array_equal(y, gemm_reference(weight, x, bias, arch.array_rows))
    record = json.loads(str(module["microscopiq.stats"]()))[0]
    assert all(sum(unit.values()) == record["cycles"] for unit in record["units"].values())
    assert record["temporal_adds"] == m * np.abs(integers(weight)[0]).sum()
    if max(shape) < 100:
        core(gemm(arch, weight, m), arch, [x, bias])


@quick
@given(
    m=st.integers(1, 9),
    rows=st.integers(1, 8),
    cols=st.integers(1, 8),
    row0=st.integers(0, 60),
    wide=st.booleans(),
    cycles=st.sampled_from([3, 4]),
    trim=st.integers(0, 1),
    seed=st.integers(0, 1 << 16),
)
def test_stepped_pes_agree(m, rows, cols, row0, wide, cycles, trim, seed):
    """Every PE in every cycle: equal sums, and M x cycles + rows + cols - 2 until the last."""
    arch = dataclasses.replace(SMALL, temporal_cycles=cycles, edge_trimming=trim)
    weight, x = weight_of(cols + 3, row0 + rows + 2, seed, wide), activations(m, rows, seed)
    part = {"row0": row0, "col0": 2, "shape": (rows, cols)}
    fast, formula = one_tile(weight, x, arch, **part)
    stepped, measured = one_tile(weight, x, arch, **part, mode="structural")
    np.testing.assert_array_equal(stepped, fast)
    values = integers(weight)[0][2 : 2 + cols, row0 : row0 + rows]
    np.testing.assert_array_equal(stepped, x.astype(int) @ values.T)
    assert measured == formula
    stay = cycles if np.abs(values).max() > 1 else 1
    high, across = (rows, cols) if trim else (8, 8)
    assert measured["array_window"] == high + m * stay + high + across - 2


def test_one_tile_of_the_whole_machine_as_it_steps():
    weight, x = weight_of(64, 64), activations(7, 64)
    fast, formula = one_tile(weight, x, BIG)
    stepped, measured = one_tile(weight, x, BIG, mode="structural")
    np.testing.assert_array_equal(stepped, fast)
    assert measured == formula


def test_a_gemm_of_many_tiles_as_it_steps():
    weight, rng = random_weight("fineq", 12, 150), np.random.default_rng(0)
    x, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 150), 12))
    found = []
    for mode in ("fast", "structural"):
        module = create(Program.for_arch(SMALL, {"gemm": gemm(SMALL, weight, 5)}).to_bytes())
        module["microscopiq.set_mode"](mode)
        y = np.zeros((5, 12), np.float32)
        module["gemm"](*map(tvm_ffi.from_dlpack, (x, bias, y)))
        found.append((y.tobytes(), str(module["microscopiq.stats"]())))
    assert found[0] == found[1]


def test_a_multiplying_machine_steps_the_same_weights():
    tiny = load_arch("tiny-4x4")
    weight, x = weight_of(8, 4), activations(5, 4)
    fast, formula = one_tile(weight, x, tiny)
    stepped, measured = one_tile(weight, x, tiny, mode="structural")
    np.testing.assert_array_equal(stepped, fast)
    assert measured == formula and fast.any()


def test_the_bound_has_no_structure():
    arch = dataclasses.replace(SMALL, temporal_cycles=1)
    message = r"a pulse of [23] cycles, but temporal_cycles = 1 is a bound that has no structure"
    with pytest.raises(SimError, match=message):
        one_tile(weight_of(8, 8), activations(2, 8), arch, mode="structural")
    narrow = weight_of(8, 8, wide=False)
    sums, _ = one_tile(narrow, activations(2, 8), arch, mode="structural")
    np.testing.assert_array_equal(sums, one_tile(narrow, activations(2, 8), arch)[0])


LOAD_PANEL = [
    isa.DmaWeight(at(), at(), 256),
    isa.Post(Unit.DMA_IN, 0),
    isa.Wait(Unit.WLOAD, 0),
]


def test_wider_weights_are_refused():
    x, sums = np.zeros((1, 8), np.int8), np.zeros((1, 8), np.float32)
    clip = isa.Clip(0, 2, 2, at())
    with pytest.raises(SimError, match="weights of 8 bits; allowed: up to 3"):
        call([clip, isa.PreloadRows(at(), at(), 8, 0, 0)], SMALL, b"", x, sums)
    int4 = pack([random_weight("int4", 8, 8)])
    code = [clip, *LOAD_PANEL, isa.Preload(at(), at(), 1, at(), at(), 0, 0)]
    with pytest.raises(SimError, match="weights of 4 bits; allowed: up to 3"):
        call(code, SMALL, int4, x, sums)
    ms2 = pack([random_weight("ms2", 8, 8)])
    code[-1] = isa.Preload(at(), at(), 3, at(), at(), 0, 0)
    with pytest.raises(SimError, match="format ms2 has outliers, but recon_units = 0"):
        call(code, SMALL, ms2, x, sums)


@pytest.mark.parametrize(
    "change",
    [{"pe_weight_bits": 4}, {"multi_precision": 1}, {"recon_units": 1}, {"replay_columns": 8}],
)
def test_a_program_for_an_impossible_machine_is_refused(change):
    """A file may come from anywhere: the core checks what target/arch.py does."""
    arch = dataclasses.replace(BIG, **change)
    program = Program.for_arch(arch, {"f": Function("f", "", (), (isa.End(),))})
    with pytest.raises(IsaError, match=r"temporal_cycles = 3 with .*; allowed: up to 3, 0, 0"):
        create(program.to_bytes())


def test_a_panel_that_ends_early_is_refused():
    """A header that claims more rows than there are bytes runs over the end of wbuf.

    No panel of a loaded program does, but slots that an instruction takes for a header may.
    """
    arch = dataclasses.replace(SMALL, wbuf_bytes=256)
    segment = bytearray(pack([weight_of(8, 24)]))
    segment[16:20] = FINEQ, 127, 7, 0  # behind the header: 38 bytes a column
    code = [isa.Clip(0, 8, 8, at()), *LOAD_PANEL]
    code.append(isa.Preload(at(), at(4), FINEQ, at(), at(), 0, 0))
    x, sums = np.zeros((1, 8), np.int8), np.zeros((1, 8), np.float32)
    # Both headers, then 8 columns of 38 bytes.
    with pytest.raises(SimError, match=r"wbuf address 0x8: 1 rows of 304 bytes, .* leave"):
        call(code, arch, bytes(segment), x, sums)
