"""runtime/src/timing: who waits for whom, how long, and what it is called; counted by hand."""

import dataclasses

import numpy as np
import pytest
import tvm_ffi

from microscopiq.target.errors import SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Program
from microscopiq.target.isa.spec import Unit
from tests.runtime.gemm_program import gemm, random_weight
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

post, wait = isa.Post, isa.Wait
ONE_PAIR = [(1, 0)]
ALL_READ = 1


def test_a_wait_holds_its_queue_until_the_token():
    code = [load(3), post(Unit.DMA_IN, 0), wait(Unit.VECTOR, 0), vector(2)]
    # The wait is dispatched in cycle 2; the load is busy for 3 and there 10 later.
    assert timeline(code) == {
        "dma_in": "busy 0-3, dma 3-13", "vector": "dma 2-13, busy 13-15, vector 15-19", "total": 19
    }  # fmt: skip
    # Its operands have been read when it is no longer busy.
    code[1] = post(Unit.DMA_IN, 0, ALL_READ)
    assert timeline(code)["vector"] == "dma 2-3, busy 3-5, vector 5-9"


# What each unit gives, and what the one that waits for it calls the time.
@pytest.mark.parametrize(
    ("before", "poster", "waiter", "want"),
    [
        ([load(3)], Unit.DMA_IN, vector(1), "dma 2-13, busy 13-14, vector 14-18"),
        ([store(3)], Unit.DMA_OUT, vector(1), "dma 2-13, busy 13-14, vector 14-18"),
        ([vector(3)], Unit.VECTOR, store(1), "vector 2-7, busy 7-8, dma 8-18"),
        ([int8_plane(4)], Unit.WLOAD, vector(1), "weights 2-4, busy 4-5, vector 5-9"),
        # Dispatched in cycle 1, busy for 3, and then 4 + 4 - 2 more.
        ([int8_plane(4), matmul(3)], Unit.ARRAY, vector(1),
         "array 3-4, fill_drain 4-10, busy 10-11, vector 11-15"),
    ],
)  # fmt: skip
def test_a_wait_is_named_after_the_poster(before, poster, waiter, want):
    code = [*before, post(poster, 0), wait(waiter.unit, 0), waiter]
    assert timeline(code)[waiter.unit.name.lower()] == want


def test_switches_are_weights_too():
    # An outlier in each of 4 rows: from cycle 2 on, 4 cycles. By then the plane is there.
    weight = ms4_weight(8, 4, {(0, row): ONE_PAIR for row in range(4)})
    code = [*ms4_plane(4), post(Unit.RECON, 0), wait(Unit.ARRAY, 0), matmul(1)]
    found = timeline(code, FREE_DRAM, (weight,))
    # Rows are held back by 11 cycles each, and in turns of 4 the second to fourth by one more.
    done = 7 + 4 - 1 + 7 + 4 * 11 + 3
    assert found == {
        "wload": "busy 1-5", "recon": "busy 2-6", "total": done,
        "array": f"weights 4-6, busy 6-7, fill_drain 7-{done}",
    }  # fmt: skip


def test_recon_holds_operands():
    """The array has read its last activation row when the rows behind ReCoN have, 11 later."""
    weight = ms4_weight(8, 2, {(0, 1): ONE_PAIR})
    code = [*ms4_plane(2), matmul(3), post(Unit.ARRAY, 0, ALL_READ), wait(Unit.VECTOR, 0)]
    found = timeline([*code, vector(1)], FREE_DRAM, (weight,))
    assert found["array"] == f"busy 3-6, fill_drain 6-{6 + 2 - 1 + 7 + 11}"
    assert found["vector"] == "array 5-6, fill_drain 6-17, busy 17-18, vector 18-22"
    # Without outliers it has read all when the last row has started.
    code[3:4] = [int8_plane(2), matmul(3)]
    found = timeline([*ms4_plane(2), *code[3:], vector(1)], FREE_DRAM, (weight,))
    assert found["vector"] == "array 6-7, busy 7-8, vector 8-12"


def test_nothing_overtakes_what_recon_holds_back():
    # Row 0 is held back by 11, so that the first plane's last row leaves row 1 in cycle 6 + 11 + 1:
    # the second plane starts, and is in row 0, in cycle 18.
    weight = ms4_weight(8, 2, {(0, 0): ONE_PAIR})
    code = [*ms4_plane(2), int8_plane(2, plane=1), matmul(3), matmul(2, plane=1)]
    found = timeline(code, FREE_DRAM, (weight,))
    assert found["array"] == f"busy 4-7, recon 7-18, busy 18-20, fill_drain 20-{7 + 1 + 7 + 11}"


def test_a_post_counts_for_all_before_it():
    # The first plane's 4 columns take until 3 + 6, the second one's only one until 4 + 3.
    planes = [int8_plane(4), int8_plane(4, 1, plane=1)]
    code = [*planes, matmul(1), matmul(1, plane=1), post(Unit.ARRAY, 0), wait(Unit.VECTOR, 0)]
    assert timeline([*code, vector(1)]) == {
        "wload": "busy 0-8", "array": "busy 2-4, fill_drain 4-9",
        "vector": "fill_drain 5-9, busy 9-10, vector 10-14", "total": 14,
    }  # fmt: skip


def test_a_post_comes_behind_the_wait_before_it():
    code = [vector(5), post(Unit.VECTOR, 0), wait(Unit.DMA_IN, 0), post(Unit.DMA_IN, 1)]
    code += [wait(Unit.DMA_OUT, 1), store(1)]
    # The vector unit is done in cycle 9. DMA in has nothing to do but to pass the token on.
    assert timeline(code) == {
        "vector": "busy 0-5, vector 5-9", "dma_in": "vector 2-9",
        "dma_out": "dma 4-9, busy 9-10, dma 10-20", "total": 20,
    }  # fmt: skip


def test_a_first_count_is_there_at_once():
    turn = [wait(Unit.VECTOR, 0), vector(1)]
    code = [isa.Sem(0, 2), load(5), post(Unit.DMA_IN, 0), *turn * 3, *[post(Unit.VECTOR, 0)] * 2]
    # Waits are dispatched in cycles 3, 5 and 7; the third takes the load's token, of cycle 16.
    assert timeline(code)["vector"] == "busy 4-5, busy 6-7, dma 7-16, busy 16-17, vector 17-21"


def test_a_lower_count_takes_the_first_token_that_comes():
    code = [isa.Sem(0, 1), wait(Unit.VECTOR, 0), vector(4), post(Unit.VECTOR, 0), isa.Sem(0, 0)]
    code += [load(8), post(Unit.DMA_IN, 0), wait(Unit.DMA_OUT, 0), store(1)]
    # Tokens come in cycles 10, which nobody gets, and 5 + 8 + 10.
    assert timeline(code) == {
        "vector": "busy 2-6, vector 6-10", "dma_in": "busy 5-13, dma 13-23",
        "dma_out": "dma 7-23, busy 23-24, dma 24-34", "total": 34,
    }  # fmt: skip


def test_tokens_are_taken_in_the_order_in_which_they_come():
    code = [load(5), post(Unit.DMA_IN, 0), vector(1), post(Unit.VECTOR, 0)]
    code += [wait(Unit.DMA_OUT, 0), store(1)] * 2
    # Of the vector unit in cycle 7, of the load, dispatched before it, in cycle 15.
    assert timeline(code)["dma_out"] == (
        "vector 4-7, busy 7-8, dma 8-15, busy 15-16, dma 16-26"
    )  # fmt: skip


def test_one_plane_is_loaded_while_the_other_one_streams():
    turn = [post(Unit.WLOAD, 0), wait(Unit.ARRAY, 0)]
    code = [int8_plane(4), *turn, matmul(8), int8_plane(4, plane=1), *turn, matmul(5, plane=1)]
    assert timeline(code) == {
        "wload": "busy 0-8", "array": "weights 2-4, busy 4-17, fill_drain 17-23", "total": 23
    }  # fmt: skip


# Five instructions of 4 cycles. A slot frees when its instruction starts: with two slots the
# fourth is dispatched in cycle 4 and the fifth in cycle 8, with one in cycles 8 and 12. The third
# of three slots is free when the fifth comes: the second instruction starts in that cycle.
@pytest.mark.parametrize(("depth", "dispatched"), [(1, 13), (2, 9), (3, 5), (8, 5)])
def test_a_full_queue_stalls_the_sequencer(depth, dispatched):
    arch = dataclasses.replace(TINY, queue_depth=depth)
    assert timeline([vector(4)] * 5 + [load(1)], arch) == {
        "vector": "busy 0-20, vector 20-24",
        "dma_in": f"busy {dispatched}-{dispatched + 1}, dma {dispatched + 1}-{dispatched + 11}",
        "total": 24,
    }


def test_a_queue_is_full_of_a_wait_for_another_unit():
    arch = dataclasses.replace(TINY, queue_depth=1)
    code = [load(3), post(Unit.DMA_IN, 0), wait(Unit.VECTOR, 0), vector(1), store(1)]
    # The wait starts with its token in cycle 13, and only then is there a slot.
    assert timeline(code, arch) == {
        "dma_in": "busy 0-3, dma 3-13", "vector": "dma 2-13, busy 13-14, vector 14-18",
        "dma_out": "busy 14-15, dma 15-25", "total": 25,
    }  # fmt: skip


# The vector unit's own token comes first, and another one takes it: for DMA in and those behind it
# there is none, though in the order of the program each wait has one.
STUCK = [
    *(vector(1), post(Unit.VECTOR, 0), load(15), wait(Unit.DMA_IN, 0), post(Unit.DMA_IN, 0)),
    *(wait(Unit.VECTOR, 0), post(Unit.DMA_IN, 1), wait(Unit.DMA_OUT, 1)),
]


@pytest.mark.parametrize("more", [[], [load(1)] * 9])
def test_a_deadlock_names_all_who_wait_and_leaves_nothing_behind(more):
    """At the end, and where a full queue holds the sequencer."""
    good = [load(1), post(Unit.DMA_IN, 0), wait(Unit.VECTOR, 0), vector(1)]
    module = module_of(TINY, good=good, stuck=[*STUCK, *more])
    before, spans = timed(module, "good")
    message = "no unit can go on; dma_in waits for semaphore 0, dma_out waits for semaphore 1"
    with pytest.raises(SimError, match=message):
        module["microscopiq.time"]("stuck")
    after, again = timed(module, "good")
    assert before == after and (spans == again).all()


def test_the_structure_takes_the_starts_and_depths_that_the_timing_gave():
    """Structural mode steps all matmuls together, at the times that they were given."""
    weight, m = random_weight("ms4", 8, 9, flagged=0.6), 3
    program = Program.for_arch(TINY, {"gemm": gemm(TINY, weight, m)})
    module = tvm_ffi.get_global_func("microscopiq.runtime.create")(program.to_bytes())
    arrays = [np.ones(shape, np.float32) for shape in ((m, 9), 8, (m, 8))]
    found = []
    for mode in ("fast", "structural"):
        module["microscopiq.set_mode"](mode)
        module["microscopiq.reset"]()
        module["gemm"](*map(tvm_ffi.from_dlpack, arrays))
        found.append(str(module["microscopiq.stats"]()))
    assert found[0] == found[1]
