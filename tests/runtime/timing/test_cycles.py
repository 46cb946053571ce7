"""runtime/src/timing: what each instruction costs, counted by hand ("The machine" in the docs)."""

import dataclasses

import numpy as np
import pytest

from microscopiq.target.arch import load_arch
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.spec import Mem, Unit
from microscopiq.target.weight import empty
from tests.runtime.gemm_program import at
from tests.runtime.timeline import (
    FREE_DRAM,
    TINY,
    int8_plane,
    load,
    matmul,
    module_of,
    ms4_plane,
    ms4_weight,
    store,
    timed,
    timeline,
    vector,
)


def machine(**keys):
    return dataclasses.replace(TINY, **keys)


# Instruction i is dispatched in cycle i x sequencer_cycles. Without any the store, dispatched with
# the load, waits for the channel.
@pytest.mark.parametrize(
    ("sequencer", "vector_unit", "dma_out", "total"),
    [
        (0, "busy 0-1, vector 1-5", "dma 0-1, busy 1-2, dma 2-12", 12),
        (1, "busy 1-2, vector 2-6", "busy 2-3, dma 3-13", 13),
        (3, "busy 3-4, vector 4-8", "busy 6-7, dma 7-17", 17),
    ],
)
def test_the_sequencer_dispatches_in_order(sequencer, vector_unit, dma_out, total):
    found = timeline([load(1), vector(1), store(1)], machine(sequencer_cycles=sequencer))
    assert found == {
        "dma_in": "busy 0-1, dma 1-11", "vector": vector_unit, "dma_out": dma_out, "total": total
    }  # fmt: skip


def test_what_the_sequencer_does_itself():
    # sem, clip and a clamp of no rows in cycles 0 to 2; loops cost nothing; break 6, store 7.
    code = [isa.Sem(0, 1), isa.Clip(9, 1, 1, at()), isa.Clamp(at(), 64, 0.0, 1.0, 0, 1)]
    code += [isa.Loop(3), vector(1), isa.EndLoop()]
    code += [isa.Loop(3), isa.Break(0), vector(5), isa.EndLoop(), store(1)]
    found = timeline(code)
    assert found == {"vector": "busy 3-6, vector 6-10", "dma_out": "busy 7-8, dma 8-18",
                     "total": 18}  # fmt: skip
    # The end is an instruction too: the 12th.
    assert timeline([isa.Clip(9, 1, 1, at())] * 11)["total"] == 12


def test_dma_takes_bytes_over_bandwidth():
    bytes_12 = isa.DmaLoad(Mem.OBUF, at(), 64, 0, at(), 0, 0, 4, 1, 3)
    for bandwidth, want in ((0, "dma 0-10"), (8, "busy 0-2, dma 2-12"), (12, "busy 0-1, dma 1-11"),
                            (1, "busy 0-12, dma 12-22")):  # fmt: skip
        found = timeline([bytes_12], machine(dram_bandwidth_bytes_per_cycle=bandwidth))
        assert found["dma_in"] == want
    assert timeline([bytes_12], machine(dram_latency_cycles=0))["dma_in"] == "busy 0-2"


def test_rows_of_a_gather_and_bytes_of_a_conversion():
    # Three rows of 4 bytes at 8 bytes a cycle: none shares a cycle with another.
    rows = isa.DmaGather(Mem.SPAD, at(), 4, 0, at(), 4, 1, 1, at(), 4, 9, 3, 4)
    assert timeline([rows])["dma_in"] == "busy 0-3, dma 3-13"
    # 12 elements of int8 become 12 words; int64 takes 8 bytes each.
    bytes_12 = isa.DmaLoad(Mem.OBUF, at(), 16, 0, at(), 0, 0, 1, 3, 4, 1)
    assert timeline([bytes_12])["dma_in"] == "busy 0-2, dma 2-12"
    wide = isa.DmaStore(1, at(), 0, 0, Mem.OBUF, at(), 16, 8, 3, 4, 4)
    assert timeline([wide])["dma_out"] == "busy 0-12, dma 12-22"


def test_loads_and_stores_share_one_channel():
    assert timeline([store(3), load(2)]) == {
        "dma_out": "busy 0-3, dma 3-13", "dma_in": "dma 1-3, busy 3-5, dma 5-15", "total": 15
    }  # fmt: skip
    # In cycle 3 both could go on, and the load does. Latencies overlap.
    assert timeline([load(3), store(2), load(1)]) == {
        "dma_in": "busy 0-4, dma 4-14", "dma_out": "dma 1-4, busy 4-6, dma 6-16", "total": 16
    }  # fmt: skip


def test_vector_lanes_take_a_tile_in_row_major_order():
    five, twenty = (isa.Clamp(at(), 64, 0.0, 1.0, rows, 5) for rows in (1, 4))
    for code, lanes, want in (
        ([five], 4, "busy 0-2, vector 2-6"),
        ([twenty], 4, "busy 0-5, vector 5-9"),
        ([twenty], 16, "busy 0-2, vector 2-6"),
        ([twenty], 0, "vector 0-4"),
        ([twenty, five], 4, "busy 0-7, vector 7-11"),
    ):
        assert timeline(code, machine(vector_lanes=lanes))["vector"] == want
    assert timeline([five], machine(vector_latency_cycles=0)) == {"vector": "busy 0-2", "total": 2}


# A plane takes a cycle for each of its rows. The matmul, dispatched in cycle 1, takes one for each
# activation row, and its last sum goes through rows + cols - 2 further PEs.
@pytest.mark.parametrize(
    ("trim", "rows", "cols", "wload", "array", "total"),
    [
        (1, 4, 4, "busy 0-4", "busy 1-4, fill_drain 4-10", 10),
        (1, 2, 3, "busy 0-2", "busy 1-4, fill_drain 4-7", 7),
        (1, 1, 1, "busy 0-1", "busy 1-4", 4),
        (0, 2, 3, "busy 0-4", "busy 1-4, fill_drain 4-10", 10),
    ],
)
def test_a_matmul_fills_and_drains(trim, rows, cols, wload, array, total):
    code, arch = [int8_plane(rows, cols), matmul(3)], machine(edge_trimming=trim)
    assert timeline(code, arch) == {"wload": wload, "array": array, "total": total}
    # From the first plane's load to the last sum, wherever the call begins and ends.
    record, _ = timed(module_of(arch, f=[vector(1), *code, vector(9)]), "f")
    assert record["array_window"] == total


def test_the_arrays_window():
    fold = [int8_plane(4), matmul(3), int8_plane(2, plane=1), matmul(1, plane=1)]
    # It begins with the first load, in cycle 1. The second matmul streams in cycle 5, and its sum
    # goes down all 4 rows behind the first one's.
    codes = {"f": [vector(1), *fold], "bare": [vector(1)], "unused": [vector(1), int8_plane(4)]}
    module = module_of(TINY, **codes)
    windows = {name: timed(module, name)[0]["array_window"] for name in codes}
    assert windows == {"f": 6 + 4 + 4 - 2 - 1, "bare": 0, "unused": 0}


def test_a_short_plane_goes_down_behind_a_tall_one():
    # The tall plane's last sum leaves row 3 in cycle 3 + 3. That of the short one may in cycle 7:
    # it starts in cycle 4 and goes down all 4 rows; in cycle 5 three will do.
    tall, short = int8_plane(4), int8_plane(1, plane=1)
    for clips, array in (
        (0, "busy 2-5, fill_drain 5-11"),
        (2, "busy 2-4, busy 5-6, fill_drain 6-11"),
        # All have left. The cycles before it is dispatched are idle.
        (9, "busy 2-4, busy 12-13, fill_drain 13-16"),
    ):
        pause = [isa.Clip(9, 1, 1, at())] * clips
        found = timeline([tall, short, matmul(2), *pause, matmul(1, plane=1)])
        assert found["array"] == array


# One row with an outlier: 7 cycles of the sync buffer and 4 ranks. A second one comes to its
# network 22 cycles after its activation, with one network in turns of 2: 1 + 2 x 2 cycles.
@pytest.mark.parametrize(
    ("rows", "units", "recon", "array"),
    [
        ((), 1, "busy 2-3", "busy 3-6, fill_drain 6-16"),
        ((1,), 1, "busy 2-3", f"busy 3-6, fill_drain 6-{16 + 11}"),
        ((1, 3), 1, "busy 2-4", f"busy 3-6, recon 6-8, fill_drain 8-{18 + 22}"),
        ((1, 3), 2, "busy 2-4", f"busy 3-6, fill_drain 6-{16 + 22}"),
        # Four visits, two a cycle: turns of 2. Rows come 8, 20, 32 and 44 cycles after their
        # activation, all in the same residue: the third finds both networks taken and waits a
        # cycle, so that the fourth comes in the other one.
        ((0, 1, 2, 3), 2, "busy 2-6", f"busy 3-6, recon 6-8, fill_drain 8-{18 + 4 * 11 + 1}"),
        ((0, 1, 2, 3), 4, "busy 2-6", f"busy 3-6, fill_drain 6-{16 + 4 * 11}"),
    ],
)
def test_rows_with_outliers_take_turns(rows, units, recon, array):
    weight = ms4_weight(8, 4, {(0, row): [(1, 0)] for row in rows})
    arch = dataclasses.replace(FREE_DRAM, recon_units=units)
    found = timeline([*ms4_plane(4), matmul(3)], arch, (weight,))
    assert (found["wload"], found["recon"], found["array"]) == ("busy 1-5", recon, array)


# Weights of 3 keep each activation row for 3 cycles, or 4 where a counter runs through.
@pytest.mark.parametrize(("code", "stay"), [(1, 1), (3, 3), (3, 4)])
def test_temporal_pes_add_again(code, stay):
    fineq = load_arch("fineq-64x64")
    arch = dataclasses.replace(
        fineq, array_rows=4, array_cols=4, temporal_cycles=max(stay, 3),
        dram_bandwidth_bytes_per_cycle=0, dram_latency_cycles=0,
    )  # fmt: skip
    weight = empty("fineq", 4, 4)
    weight.scale[:] = 1
    # Pattern 1: the first of three weights is 0, the others have 2 bits.
    weight.pattern[:] = 1
    weight.slots[:, 1] = code
    panel = [isa.DmaWeight(at(), at(), 4096), isa.Preload(at(), at(), 5, at(), at(), 4, 4)]
    found = timeline([*panel, matmul(2)], arch, (weight,))
    again = f"temporal 4-{4 + 2 * (stay - 1)}, " if stay > 1 else ""
    end = 2 + 2 * stay
    assert found["array"] == f"busy 2-4, {again}fill_drain {end}-{end + 4 + 4 - 2}"


def test_without_overlap_one_after_the_other():
    # Waits and posts have nothing to order and cost nothing.
    code = [load(3), isa.Post(1, 0), isa.Wait(6, 0), vector(2), int8_plane(4), matmul(3), store(1)]
    assert timeline(code, machine(overlap=0)) == {
        "dma_in": "busy 0-3, dma 3-13",
        "vector": "busy 14-16, vector 16-20",  # dispatched one cycle after the load's end
        "wload": "busy 21-25",
        "dma_out": "busy 36-37, dma 37-47",
        "array": "dma 0-13, vector 14-20, weights 21-25, busy 26-29, fill_drain 29-35, dma 36-47",
        "total": 49,  # and the end
    }


SCALESIM = machine(
    overlap=0, edge_trimming=0, scalesim=1, sequencer_cycles=0, dram_bandwidth_bytes_per_cycle=0,
    dram_latency_cycles=0, vector_lanes=0, vector_latency_cycles=0,
)  # fmt: skip


def test_scalesim_counts_to_the_last_cycles_index():
    # A fold takes 2 R + C + T - 2 = 15 cycles; the last of the second one has index 29.
    fold = [load(1), int8_plane(2, 3), matmul(5), vector(1), store(1)]
    assert timeline(fold * 2, SCALESIM) == {
        "wload": "busy 0-4, busy 15-19",
        "array": "weights 0-4, busy 4-9, fill_drain 9-15, weights 15-19, busy 19-24, "
        "fill_drain 24-29",
        "total": 29,
    }
    # A drain of one cycle is gone from the timeline.
    trimmed = dataclasses.replace(SCALESIM, edge_trimming=1)
    assert timeline([int8_plane(1, 2), matmul(5)], trimmed) == {
        "wload": "busy 0-1", "array": "weights 0-1, busy 1-6", "total": 6
    }  # fmt: skip
    assert timeline([], SCALESIM) == {"total": 0}


def test_scalesims_last_cycle_is_taken_off_what_a_unit_did_in_it():
    # Of an array of one PE the last sum is there when it has streamed: nothing fills or drains.
    arch = dataclasses.replace(
        SCALESIM, edge_trimming=1, vector_lanes=4, vector_latency_cycles=4
    )  # fmt: skip
    one = [int8_plane(1, 1), matmul(2)]
    assert timeline(one, arch) == {
        "wload": "busy 0-1", "array": "weights 0-1, busy 1-2", "total": 2
    }  # fmt: skip
    assert timeline([*one, vector(1)], arch) == {
        "wload": "busy 0-1", "array": "weights 0-1, busy 1-3, vector 3-7",
        "vector": "busy 3-4, vector 4-7", "total": 7,
    }  # fmt: skip
    # Dispatched in cycle 16, behind the clips: what came first is idle in the last one.
    arch = machine(scalesim=1)
    assert timeline([load(1), vector(1)], arch) == {
        "dma_in": "busy 0-1, dma 1-10", "vector": "busy 1-2, vector 2-6", "total": 10
    }  # fmt: skip


def test_spans_name_their_instructions_one_after_the_other():
    code = [load(3), vector(2)]
    _, spans = timed(module_of(machine(overlap=0), f=code), "f")
    second = len(code[0].encode())
    found = [
        (Unit(s["unit"]).name, int(s["begin"]) - 16, int(s["pc"] - spans["pc"][0])) for s in spans
    ]
    assert found == [
        ("DMA_IN", 0, 0), ("DMA_IN", 3, 0), ("ARRAY", 0, 0),
        ("VECTOR", 14, second), ("VECTOR", 16, second), ("ARRAY", 14, second),
    ]  # fmt: skip


def test_spans_name_their_instructions():
    code = [load(3), isa.Post(1, 0), isa.Loop(2), isa.Wait(6, 0), vector(2), isa.Post(1, 0)]
    code += [isa.EndLoop(), isa.Wait(6, 0)]
    pc = np.cumsum([0] + [len(instruction.encode()) for instruction in code])
    _, spans = timed(module_of(TINY, f=code), "f")
    first = int(spans["pc"].min())
    none = 0xFFFFFFFF - first
    found = [
        (int(s["unit"]), int(s["begin"]) - 16, int(s["pc"]) - first, int(s["depth"]),
         int(s["counters"][0]))
        for s in spans
    ]  # fmt: skip
    assert sorted(found) == [
        (1, 0, pc[0], 0, 0),
        (1, 7, none, 0, 0),  # latency behind the last post, in cycle 7, is nobody's
        (6, 2, pc[3], 1, 0),  # the wait, while the load is busy and on its way
        (6, 3, pc[3], 1, 0),
        (6, 13, pc[4], 1, 0),
        (6, 15, pc[4], 1, 1),
        (6, 17, none, 0, 0),
    ]
