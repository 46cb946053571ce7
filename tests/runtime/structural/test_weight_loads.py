"""Planes that are loaded while others stream: fast and structural mode agree in every cycle."""

import dataclasses
import json

import numpy as np
import pytest
import tvm_ffi
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import SimError
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem, Unit
from microscopiq.target.packing import pack
from microscopiq.target.weight import integers
from tests.runtime.gemm_program import at, random_weight

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
SMALL, BIG = (
    dataclasses.replace(load_arch(name), pair_decoders=1)
    for name in ("microscopiq-8x8", "microscopiq-64x64")
)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
MAX_ROWS, INPUTS, PANEL = 6, 64, 1 << 14
OUT = 4 * 20 * MAX_ROWS
LOADED, FREE, MERGED, UNMERGED = 0, 1, 2, 3
"""Semaphores between the loader or ReCoN and the array."""


def in_turns(arch, weights, rows, ordered=True):
    """Return a function that loads its weights' panels one after the other, each for a matmul.

    `rows` are activation rows of each; planes take turns. If `ordered`, tokens keep loads and
    matmuls of a plane in order.
    """
    outliers = weights[0].row.has_outliers
    code = [isa.Sem(FREE, arch.weight_planes)] * ordered
    code += [isa.Sem(UNMERGED, arch.weight_planes)] * (outliers and ordered)
    code += [isa.Clip(0, MAX_ROWS, MAX_ROWS, at()), isa.Clip(1, INPUTS, INPUTS, at())]
    code += [isa.DmaLoad(Mem.SPAD, at(), INPUTS, 0, at(), INPUTS, 1, 1, 0, 1)]
    code += [isa.DmaWeight(at(PANEL * n), at(n), PANEL) for n in range(len(weights))]
    for sem, unit in ((8, Unit.WLOAD), (9, Unit.ARRAY), (10, Unit.RECON))[: 2 + outliers]:
        code += [isa.Post(Unit.DMA_IN, sem), isa.Wait(unit, sem)]
    for number, (weight, m) in enumerate(zip(weights, rows, strict=True)):
        n, k = weight.slots.shape
        plane, clips = at(number % arch.weight_planes), [isa.Clip(2, k, k, at())]
        clips += [isa.Clip(3, n, n, at()), isa.Clip(4, m, m, at())]
        part = (plane, at(PANEL * number), weight.row.code, at(), at(), 2, 3)
        loads = [isa.Wait(Unit.WLOAD, FREE), isa.Preload(*part), isa.Post(Unit.WLOAD, LOADED)]
        waits, posts = [isa.Wait(Unit.ARRAY, LOADED)], [isa.Post(Unit.ARRAY, FREE, 1)]
        if outliers:
            loads += [isa.Wait(Unit.RECON, UNMERGED), isa.ReconConfig(*part)]
            loads += [isa.Post(Unit.RECON, MERGED)]
            waits += [isa.Wait(Unit.ARRAY, MERGED)]
            posts += [isa.Post(Unit.ARRAY, UNMERGED, 1)]
        acc = at(OUT * number)
        stream = [isa.Matmul(plane, at(), INPUTS, acc, 80, 4, at())]
        turn = [*clips, *loads, *waits, *stream, *posts]
        code += [op for op in turn if ordered or not isinstance(op, isa.Wait | isa.Post)]
    code += [isa.Post(Unit.ARRAY, 11), isa.Wait(Unit.DMA_OUT, 11)]
    for number, (weight, m) in enumerate(zip(weights, rows, strict=True)):
        n = weight.slots.shape[0]
        code += [isa.Clip(2, m, m, at()), isa.Clip(3, n, n, at())]
        place = at(OUT * number)
        code += [isa.DmaStore(1, place, 80, 4, Mem.ACC, place, 80, 4, 2, 3)]
    arguments = (
        Argument("x", "int8", (MAX_ROWS, INPUTS)),
        Argument("y", "int8", (OUT * len(weights),), True),
    )
    return Function("f", "", arguments, (*code, isa.End()), pack(weights))


def run(arch, function, x, mode):
    module = create(Program.for_arch(arch, {"f": function}).to_bytes())
    module["microscopiq.set_mode"](mode)
    out = np.zeros(function.arguments[1].shape, np.int8)
    module["f"](tvm_ffi.from_dlpack(x), tvm_ffi.from_dlpack(out))
    (record,) = json.loads(module["microscopiq.stats"]())
    return out.view(np.int32), record


def activations():
    return np.random.default_rng(0).integers(-128, 128, (MAX_ROWS, INPUTS), np.int8)


def both(arch, weights, rows, ordered=True):
    """Return the record of a program in both modes, whose sums are those of NumPy."""
    function, x = in_turns(arch, weights, rows, ordered), activations()
    (fast, record), (stepped, measured) = (
        run(arch, function, x, mode) for mode in ("fast", "structural")
    )
    np.testing.assert_array_equal(stepped, fast)
    assert measured == record
    for number, (weight, m) in enumerate(zip(weights, rows, strict=True)):
        n, k = weight.slots.shape
        found = fast[number * OUT // 4 :][: 20 * m].reshape(m, 20)[:, :n]
        np.testing.assert_array_equal(found, x[:m, :k].astype(int) @ integers(weight)[0].T)
    return record


@settings(max_examples=150, phases=PHASES)
@given(st.data())
def test_loads_follow_the_rows_that_stream(data):
    draw = data.draw
    small = draw(st.booleans())
    arch = dataclasses.replace(
        SMALL if small else BIG,
        array_rows=draw(st.integers(3, 12)) if small else 64,
        weight_planes=draw(st.sampled_from([2, 2, 3, 5])),
        weight_buses=draw(st.sampled_from([1, 2, 3])) if small else draw(st.sampled_from([1, 8])),
        row_release=draw(st.sampled_from([0, 1, 1])),
        merge_strips=draw(st.sampled_from([1, 1, 2])),
        recon_units=draw(st.sampled_from([1, 3])),
        recon_waits=draw(st.sampled_from([0, 1])),
        skew_columns=draw(st.sampled_from([1, 8])),
        recon_segment_columns=draw(st.sampled_from([0, 8])),
        edge_trimming=draw(st.sampled_from([0, 1, 1])),
        sequencer_cycles=draw(st.sampled_from([0, 1])),
        wbuf_bytes=PANEL * 8,
        acc_bytes=1 << 14,
        queue_depth=64,
    )
    if not arch.row_release:
        arch = dataclasses.replace(arch, merge_strips=1)
    name = draw(st.sampled_from(["int8", "int4", "ms2", "ms4"]))
    most = min(20, arch.columns(WEIGHT_FORMATS[name].pe_bits))
    flagged, seed = draw(st.sampled_from([0, 0.05, 0.5])), draw(st.integers(0, 1 << 32))
    weights, rows = [], draw(st.lists(st.integers(1, MAX_ROWS), min_size=3, max_size=8))
    tall = draw(st.booleans())
    for number in range(len(rows)):
        k = arch.array_rows if tall else draw(st.integers(1, arch.array_rows))
        n = draw(st.integers(1, most))
        weights.append(random_weight(name, n, k, seed + number, flagged=flagged))
    both(arch, weights, rows, ordered=not arch.row_release or draw(st.booleans()))


def cycles_of_two_planes(**keys):
    """Return by how much two more planes of 64 rows, with a row each, keep the array longer."""
    arch = dataclasses.replace(BIG, **keys, sequencer_cycles=0, acc_bytes=1 << 14)
    weights = [random_weight("int4", 20, 64, seed) for seed in range(8)]
    longer, shorter = (
        both(arch, weights[:n], [1] * n, not arch.row_release)["array_window"] for n in (8, 6)
    )
    return longer - shorter


def test_cycles_of_planes_by_hand():
    # A bus loads a row a cycle, one plane after the other.
    assert cycles_of_two_planes() == cycles_of_two_planes(row_release=1) == 2 * 64
    # Eight buses take 8 cycles. A plane as a whole is loaded anew 56 cycles behind its row's start,
    # in time to end behind it; the next row starts when it's there.
    assert cycles_of_two_planes(weight_buses=8) == 56 + 8 + 1
    assert cycles_of_two_planes(weight_buses=8, weight_planes=8) == 2 * 8
    # Row by row two planes are enough.
    assert cycles_of_two_planes(weight_buses=8, row_release=1) == 2 * 8
    # Sixteen would load one in 4 cycles; a row is loaded anew 8 cycles behind the last one.
    assert cycles_of_two_planes(weight_buses=16, row_release=1) == 1 + 8


def test_a_load_that_nothing_orders_is_refused():
    arch = dataclasses.replace(BIG, weight_buses=8)
    weights = [random_weight("int4", 20, 64, seed) for seed in range(4)]
    function = in_turns(arch, weights, [1] * 4, ordered=False)
    module = create(Program.for_arch(arch, {"f": function}).to_bytes())
    module["microscopiq.set_debug"](False)
    module["microscopiq.set_mode"]("structural")
    out = np.zeros(OUT * 4, np.int8)
    with pytest.raises(SimError, match=r"plane \d has a weight of another load than the matmul's; "
                       "allowed: programs whose tokens order the two"):  # fmt: skip
        module["f"](tvm_ffi.from_dlpack(activations()), tvm_ffi.from_dlpack(out))


def test_rows_that_wait_in_recon_let_planes_follow_each_other():
    """Of ten planes of one row, each with its outliers elsewhere; both modes agree on all."""
    weights = [random_weight("ms4", 20, 64, seed, flagged=0.1) for seed in range(10)]
    found = []
    for waits in (0, 1):
        arch = dataclasses.replace(
            BIG, recon_units=8, recon_segment_columns=8, recon_waits=waits, row_release=1,
            weight_buses=8, sequencer_cycles=0, acc_bytes=1 << 15, wbuf_bytes=PANEL * 16,
            queue_depth=64,
        )  # fmt: skip
        found.append(both(arch, weights, [1] * len(weights), ordered=False))
    start, wait = found
    assert start["recon"]["waits"] == 0 < wait["recon"]["waits"]
    own = start["recon"]["passes"]
    assert wait["recon"]["passes"] == own + wait["recon"]["waits"]
    assert (
        wait["recon"]["switch_ops"] * own == start["recon"]["switch_ops"] * wait["recon"]["passes"]
    )
    # Without waiting, most of a plane's time is that of the visits before its own first one.
    assert wait["cycles"] < start["cycles"] - 5 * 11


def test_merges_of_several_segments_come_at_once():
    """What a bus brings of a row's merges holds planes up where outliers are in many segments."""
    weights = [random_weight("ms2", 20, 64, 7, flagged=1)] * 10
    found = []
    for strips in (1, 2, 3):
        arch = dataclasses.replace(
            BIG, recon_units=16, recon_segment_columns=8, recon_waits=1, row_release=1,
            weight_buses=8, merge_strips=strips, sequencer_cycles=0, acc_bytes=1 << 15,
            wbuf_bytes=PANEL * 16, queue_depth=64,
        )  # fmt: skip
        found.append(both(arch, weights, [1] * len(weights), ordered=False)["array_window"])
    one, two, three = found
    # Of 20 outputs there are three segments: more wires have nothing to bring.
    assert one > two >= three


def test_columns_that_work_together_leave_recon_nothing_to_undo():
    """A row's sums are 7 cycles less in ReCoN at a first pass, and the last column isn't late."""
    weights = [random_weight("ms4", 8, 32, 7, flagged=1)]
    found = []
    for together in (1, 8):
        arch = dataclasses.replace(
            BIG, recon_units=64, recon_segment_columns=8, skew_columns=together, sequencer_cycles=0
        )
        found.append(both(arch, weights, [1]))
    skewed, straight = found
    recon = straight["recon"]
    visits = recon["passes"] - recon["second_passes"]
    assert visits > 20 and recon == skewed["recon"]
    assert skewed["array_window"] - straight["array_window"] == 7 * visits + 7
