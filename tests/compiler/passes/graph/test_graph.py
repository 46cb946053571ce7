"""compiler/passes/graph: calls in a row become one, with the same bits, and nothing gets lost."""

import json

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import Options, compile_model
from microscopiq.compiler.memory_plan import memory_plan
from microscopiq.compiler.verify import run_reference, verify_layers
from microscopiq.runtime.results.result import RunResult
from microscopiq.runtime.session import Session
from microscopiq.target.arch import load_arch
from tests.compiler import relax_modules as make
from tests.numpy_calls import check_calls

TINY = load_arch("tiny-4x4")


def network(emit, x):
    """A product, a running one that only the host can do, two layers behind it, and two results."""
    first = emit(op.matmul(x, make.const(24, 20, seed=1)))
    running = emit(op.cumprod(first, 1))
    second = emit(op.nn.gelu(emit(op.matmul(running, make.const(20, 24, seed=2)))))
    third = emit(op.add(x, emit(op.matmul(second, make.const(24, 24, seed=3)))))
    norm = emit(op.nn.layer_norm(third, make.const(24, seed=4), make.const(24, seed=5), -1))
    rows = emit(op.nn.softmax(emit(op.reshape(third, (3, 8, 5))), -1))
    heads = emit(op.reshape(third, (3, 5, 8)))
    pairs = emit(op.matmul(heads, rows))
    joined = emit(op.concat([pairs, emit(op.exp(pairs))], -1))
    return relax.Tuple([norm, rows, first, joined])


def compiled(mod, **options):
    return compile_model(mod, Options(recipe="int8", vector=True, arch=TINY, **options))


@pytest.fixture(scope="module")
def built():
    """Return the network's module, its program, and that of single operators."""
    mod = make.module(network, (5, 24))
    return mod, compiled(mod), compiled(mod, graph=False)


@pytest.fixture(scope="module")
def inputs(built):
    return make.inputs_of(built[0])


def test_what_the_host_leaves_together_is_one_function(built):
    _, joined, single = built
    assert [each.operator for each in joined.host] == ["cumprod"]
    names = list(joined.program.functions)
    assert names == ["main_run0", "main_run1"]
    parts = {part.name for f in joined.program.functions.values() for part in f.parts}
    assert {name for part in parts for name in part.split("+")} == single.program.functions.keys()
    chains = [part.split("+") for part in parts if "+" in part]
    taken = [(first.split("_")[1], second.split("_")[1]) for first, second in sorted(chains)]
    assert taken == [("fused", "quantize"), ("linear1", "fused")]
    assert "transpose" in min(chains)[0] and "gelu" in max(chains)[1]


@pytest.mark.parametrize("mode", ["fast", "structural"])
def test_bits_of_llvm_and_of_single_operators(built, inputs, mode):
    _, joined, single = built
    found = Session(joined.executable, mode=mode).run(*inputs)
    plain = Session(single.executable).run(*inputs)
    wanted = run_reference(joined, inputs)
    for have, alone, llvm in zip(found.outputs, plain.outputs, wanted, strict=True):
        np.testing.assert_array_equal(have.view(np.uint32), llvm.view(np.uint32))
        np.testing.assert_array_equal(have.view(np.uint32), alone.view(np.uint32))
    assert found.cycles < plain.cycles
    assert found.macs == plain.macs
    assert all(found.bytes_moved[way] < plain.bytes_moved[way] for way in ("read", "written"))


def test_numpy_gives_the_same_bits(built, inputs):
    assert check_calls(built[1].executable, inputs, TINY) == 2


def test_layers_have_records_of_their_own(built, inputs, tmp_path):
    _, joined, single = built
    session = Session(joined.executable)
    result = session.run(*inputs, trace=tmp_path / "t.json")
    alone = {call["name"]: call for call in Session(single.executable).run(*inputs).calls}
    for call in result.calls:
        own = [alone[name] for name in call["name"].split("+")]
        assert call["layer"] == " + ".join(each["layer"] for each in own)
        assert call["weight_format"] == own[0]["weight_format"]
        assert call["accesses"] == own[0]["accesses"]
        for key in ("macs", "vector_ops"):
            assert call[key] == sum(each[key] for each in own), key
        for unit in ("wload", "array"):
            busy = sum(each["units"][unit]["busy"] for each in own)
            assert call["units"][unit]["busy"] == busy, unit
        for way, moved in call["dram_bytes"].items():
            assert moved <= sum(each["dram_bytes"][way] for each in own)
    assert sum(call["cycles"] for call in result.calls) == result.cycles
    for unit, causes in result.unit_cycles.items():
        assert sum(causes.values()) == result.cycles, unit
    assert session.time().to_json() == result.to_json()
    assert RunResult.from_json(result.to_json()).cycles == result.cycles


def test_the_timeline_has_a_slice_for_each_layer(built, inputs, tmp_path):
    path = tmp_path / "t.json"
    result = Session(built[1].executable).run(*inputs, trace=path)
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    slices = [event["args"] for event in events if event.get("cat") == "layer"]
    assert [each["cycles"] for each in slices] == [call["cycles"] for call in result.calls]
    starts = np.cumsum([0] + [each["cycles"] for each in slices])
    assert [each["begin"] for each in slices] == starts[:-1].tolist()
    assert starts[-1] == result.cycles


def test_each_layer_is_checked(built, inputs, monkeypatch):
    _, joined, single = built
    checks = verify_layers(joined, inputs)
    names = {name for check in checks for name in check.symbol.split("+")}
    assert names == single.program.functions.keys()
    assert sum(check.different for check in checks) == 0
    monkeypatch.setattr("microscopiq.compiler.verify._different", lambda want, have: want.size)
    checks = verify_layers(joined, inputs)
    assert all(check.different == check.elements for check in checks)
    # What never leaves the chip can't be seen, and there is both.
    assert {check.elements > 0 for check in checks} == {True, False}


def test_the_plan_has_every_place(built):
    _, joined, _ = built
    plan = memory_plan(joined.program, joined.runs, TINY)
    for memory, peak in plan["peaks"].items():
        if memory == "dram":
            continue
        rows = [row for row in plan["tensors"] if row["memory"] == memory]
        assert peak["peak_bytes"] == max(row["offset"] + row["size"] for row in rows)
        assert peak["peak_bytes"] <= peak["capacity_bytes"]
    shared = [row for row in plan["tensors"] if "workspace" in row["tensor"] and row["layer"]]
    dram = plan["peaks"]["dram"]
    assert max(row["offset"] + row["size"] for row in shared) == dram["workspace_bytes"]
    assert dram["peak_bytes"] == dram["weight_bytes"] + dram["tensor_bytes"]


def test_a_run_is_cut_where_a_function_has_too_little(inputs, monkeypatch):
    monkeypatch.setattr("microscopiq.compiler.link.join.ARGUMENTS", 5)
    cut = compiled(make.module(network, (5, 24)))
    assert len(cut.program.functions) > 2
    assert any(function.parts for function in cut.program.functions.values())
    for have, want in zip(Session(cut.executable).run(*inputs).outputs, run_reference(cut, inputs),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(have.view(np.uint32), want.view(np.uint32))


def test_several_functions_and_a_result_that_is_also_read():
    """One function's results are read inside and outside; the other's single call stays one."""

    def pair(emit, x):
        left, right = (emit(relax.TupleGetItem(emit(op.split(x, 2, -1)), n)) for n in (0, 1))
        total = emit(op.add(left, right))
        return relax.Tuple([left, total, emit(op.nn.softmax(total, -1))])

    builder = relax.BlockBuilder()
    make.add_function(builder, "main", pair, (3, 16))
    make.add_function(builder, "other", lambda e, x: e(op.exp(x)), (3, 16))
    state = compiled(builder.get())
    assert sorted(len(f.parts) for f in state.program.functions.values()) == [0, 3]
    session = Session(state.executable)
    x = make.numbers(3, 16)
    for name in ("main", "other"):
        found = session.run(x, function=name).outputs
        for have, want in zip(found, run_reference(state, [x], name), strict=True):
            np.testing.assert_array_equal(have.view(np.uint32), want.view(np.uint32))


def test_without_vector_operators_the_host_lies_in_between(inputs):
    options = Options("int8", TINY, vector=False)
    state = compile_model(make.module(network, (5, 24)), options)
    parts = [[p.name for p in f.parts] for f in state.program.functions.values()]
    assert all(len(names) in (0, 2, 3) for names in parts) and any(parts)
    for have, want in zip(Session(state.executable).run(*inputs).outputs,
                          run_reference(state, inputs), strict=True):  # fmt: skip
        np.testing.assert_array_equal(have.view(np.uint32), want.view(np.uint32))
