"""compiler/estimate/stand_in.py: clusters of weights that nobody has cost what real ones would."""

import json

import numpy as np
import pytest
import tvm
import tvm_ffi

from microscopiq.compiler.estimate.timing import Task, estimate
from microscopiq.compiler.kinds.registry import emit, scheduled
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.target.arch import load_arch
from microscopiq.target.isa.program import Program
from microscopiq.target.packing import pack

FINEQ = load_arch("fineq-64x64")
LINEAR = Gemm(1, 1, 50, 200, 300, "fineq")


def test_clusters_take_as_long_as_real_ones():
    real = np.random.default_rng(0).standard_t(5, (200, 300)).astype(np.float32)
    segment = pack([quantize_weight("fineq", real, "fineq", "x")[0]])
    function = emit(scheduled(LINEAR, FINEQ).mod["main"], FINEQ, "f", "", segment)
    program = Program.for_arch(FINEQ, {"f": function})
    module = tvm.get_global_func("microscopiq.runtime.create")(program.to_bytes())
    arrays = [np.zeros(a.shape, a.dtype) for a in function.arguments]
    module["f"](*map(tvm_ffi.from_dlpack, arrays))
    module["microscopiq.time"]("f")
    run, timed = json.loads(str(module["microscopiq.stats"]()))
    assert timed == run  # without values every count is there all the same
    (guess,) = estimate([Task("f", LINEAR)], FINEQ).result.calls
    assert guess["cycles"] == run["cycles"]
    assert guess["units"]["array"] == run["units"]["array"]
    assert guess["temporal_adds"] == pytest.approx(run["temporal_adds"], rel=0.2)


def test_attention_that_the_array_cant_multiply_costs_the_host():
    scores = Task("scores", Gemm(2, 1, 50, 50, 64, ""), 3)
    found = estimate([scores, Task("f", LINEAR)], FINEQ)
    assert [call["layer"] for call in found.result.calls] == ["f"] and found.host == [scores]
    (row,) = found.result.host_calls
    # 2 x 50 x 50 x 64 multiply-accumulates, three times, at 64 a nanosecond.
    assert row["macs"] == row["operations"] == 3 * 320_000
    assert row["bytes"] == 3 * 2 * (100 * 64 + 4 * 2500)
    assert found.result.host_seconds == pytest.approx(3 * 5000e-9)
    # There and back, and there and back for the host each time.
    assert found.result.handovers == 8
    assert not estimate([scores], load_arch("tiny-4x4")).host
