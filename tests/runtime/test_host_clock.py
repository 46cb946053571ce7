"""runtime/host_clock.py, results/host.py, compiler/host/table.py: what a run costs the host.

Rates are those of tiny-4x4: 64 operations and 16 bytes a nanosecond, 1,000 for a hand-over.
"""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op
from tvm.script import ir as I
from tvm.script import relax as R

from microscopiq import Session
from microscopiq.compiler.host.weights import FUNCTION
from microscopiq.compiler.llvm import build_for_llvm
from microscopiq.runtime.host_costs import NO_COSTS, Cost, Costs, decoded, encoded
from microscopiq.runtime.results.host import COUNTED, Called, Rates, calls_in_order, host_run
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import InputError
from tests.compiler import relax_modules as make

RATES = Rates.of(load_arch("tiny-4x4").numbers())
X = make.numbers(4, 8)


@I.ir_module
class Branch:
    @R.function
    def main(x: R.Tensor((4, 8), "float32"), flag: R.Tensor((), "bool")) -> R.Tensor(
        (4, 8), "float32"
    ):
        if flag:  # noqa: SIM108
            y = R.exp(x)
        else:
            y = R.tanh(x)
        return y


@I.ir_module
class Loop:
    @R.function(private=True)
    def loop(x: R.Tensor((4, 8), "float32"), n: R.Tensor((), "int32")) -> R.Tensor(
        (4, 8), "float32"
    ):
        cls = Loop
        more = R.greater(n, R.const(0, "int32"))
        if more:
            y = R.exp(x)
            m = R.subtract(n, R.const(1, "int32"))
            r = cls.loop(y, m)
        else:
            r = x
        return r

    @R.function
    def main(x: R.Tensor((4, 8), "float32"), n: R.Tensor((), "int32")) -> R.Tensor(
        (4, 8), "float32"
    ):
        cls = Loop
        return cls.loop(x, n)


def calls(result) -> dict[str, int]:
    return {row["name"]: row["calls"] for row in result.host_calls}


def test_a_branch_that_is_left_out_costs_nothing():
    session = Session(make.compiled(Branch, vector=False).executable)
    assert calls(session.run(X, np.asarray(True))) == {"tir_exp": 1}
    assert calls(session.run(X, np.asarray(False))) == {"tir_tanh": 1}
    with pytest.raises(InputError, match=r"depend on its inputs \(if\): run it instead"):
        session.time()


def test_a_loop_costs_each_time():
    session = Session(make.compiled(Loop, vector=False).executable)
    assert calls(session.run(X, np.asarray(0, np.int32))) == {"greater": 1}
    result = session.run(X, np.asarray(10, np.int32))
    assert calls(result) == {"tir_exp": 10, "subtract": 10, "greater": 11}
    (exp,) = [row for row in result.host_calls if row["name"] == "tir_exp"]
    assert exp["operations"] == 10 * 32 * FUNCTION["exp"] and exp["bytes"] == 10 * 2 * 128
    assert exp["seconds"] == pytest.approx(1e-9 * 10 * 32 * FUNCTION["exp"] / 64)


@pytest.fixture(scope="module")
def ran():
    """Return a session of two products with softmax between and a view behind, and its run."""

    def body(emit, x):
        y = make.linear(emit, emit(op.nn.softmax(make.linear(emit, x, 8))), 8)
        return emit(op.reshape(y, (2, 16)))

    mod = make.module(body, (4, 8))
    session = Session(make.compiled(mod, vector=False).executable)
    return session, session.run(X)


def test_latency_is_the_sum_of_both_sides_and_the_way_between(ran):
    _, result = ran
    # To the machine, back for softmax, there again, and back with the result; a view is free.
    assert result.handovers == 4 and calls(result) == {"softmax": 1}
    assert result.handover_seconds == pytest.approx(4e-6)
    (softmax,) = result.host_calls
    assert softmax["counted"] == COUNTED[0] and softmax["bytes"] == 2 * 128
    assert result.host_seconds == softmax["seconds"] > 0
    assert result.seconds == result.cycles / 100e6
    assert result.latency_seconds == pytest.approx(
        result.seconds + result.host_seconds + result.handover_seconds
    )


def test_timing_without_a_run_finds_the_same(ran):
    session, result = ran
    timed = session.time()
    assert timed.host_calls == result.host_calls and timed.handovers == result.handovers
    assert timed.latency_seconds == result.latency_seconds


def test_a_run_that_fails_leaves_nothing_behind(ran):
    session, result = ran
    with pytest.raises(InputError, match="main: "):
        session.run(make.numbers(4, 9))
    assert calls(session.run(X)) == calls(result)


def test_packed_functions_count_by_what_they_are_called_with():
    @tvm.register_global_func("tests.host_clock.double", override=True)
    def double(x, y):
        y.copyfrom(2 * x.numpy())

    def body(emit, x):
        kind = relax.TensorType((4, 8), "float32")
        y = emit(op.call_dps_packed("tests.host_clock.double", [x], kind))
        small = emit(op.strided_slice(y, axes=[0], begin=[0], end=[2]))
        kind = relax.TensorType((2, 8), "float32")
        return emit(op.call_dps_packed("tests.host_clock.double", [small], kind))

    session = Session(make.compiled(make.module(body, (4, 8))).executable)
    result = session.run(X)
    np.testing.assert_array_equal(result.outputs[0], 4 * X[:2])
    (row,) = [row for row in result.host_calls if "double" in row["name"]]
    assert row["calls"] == 2 and row["bytes"] == 2 * 128 + 2 * 64 and row["operations"] == 0
    assert row["counted"] == COUNTED[1] and row["seconds"] == pytest.approx(384 / 16 * 1e-9)
    assert session.time().host_calls == result.host_calls


def test_a_library_without_costs_counts_by_bytes():
    mod = make.module(lambda emit, x: emit(op.exp(x)), (4, 8))
    result = Session(build_for_llvm(mod), "tiny-4x4").run(X)
    (row,) = result.host_calls
    assert row["name"] == "tir_exp" and row["bytes"] == 256 and row["counted"] == COUNTED[1]
    assert result.latency_seconds == result.host_seconds == pytest.approx(256 / 16 * 1e-9)


def test_costs_travel_as_bytes():
    costs = Costs({"f": Cost(3, 2, 1), "g": Cost(None, 0, 8)}, {"p": 5}, ["v"])
    assert decoded(encoded(costs)) == costs
    assert costs.is_free("v") and costs.is_free("vm.builtin.reshape")
    assert not costs.is_free("f") and not costs.is_free("vm.builtin.call_tir_dyn")


def test_the_longer_of_arithmetic_and_memory_counts():
    assert RATES.seconds(640, 16) == pytest.approx(10e-9)
    assert RATES.seconds(64, 1600) == pytest.approx(100e-9)
    # 0: no limit.
    assert Rates(0, 16, 0).seconds(10**9, 16) == pytest.approx(1e-9)
    assert Rates.of(load_arch("ws-32x32-ideal").numbers()).seconds(10**9, 10**9) == 0


def test_the_longest_comes_first():
    costs = Costs({"a": Cost(64, 0, 0), "b": Cost(640, 64, 0)}, {}, ())
    run = host_run([Called("a", 3, 0), Called("b", 1, 0), Called("c", 2, 32)], 2, costs, RATES)
    assert [row["name"] for row in run.calls] == ["b", "a", "c"]
    assert run.seconds == pytest.approx(15e-9) and run.handover_seconds == pytest.approx(2e-6)
    assert run.calls[0]["macs"] == 64 and run.calls[2]["bytes"] == 32


@pytest.mark.parametrize(
    ("names", "handovers"),
    [
        ([], 0),
        (["h"], 0),
        (["m"], 2),
        (["m", "m"], 2),
        (["h", "m", "vm.builtin.alloc_tensor", "m", "h"], 2),
        (["m", "h", "m"], 4),
    ],
)
def test_hand_overs_of_calls_in_order(names, handovers):
    called, found = calls_in_order(names, ["m"], NO_COSTS)
    assert found == handovers
    assert [(row.name, row.calls) for row in called] == [("h", n) for n in [names.count("h")] if n]
