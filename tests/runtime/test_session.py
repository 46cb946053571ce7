"""runtime/session.py: what a run reports adds up, and what a session takes and gives."""

import json

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq import Session
from microscopiq.runtime.results.result import RESULT_VERSION, merge
from microscopiq.target.errors import ConfigError, InputError
from microscopiq.target.isa.spec import Unit
from tests.compiler import relax_modules as make


def everything(emit, x, image, key):
    """One layer of each kind, in nested tuples."""
    y = make.mlp(emit, x)
    z = make.relu(emit, make.conv(emit, image, 6, padding=1))
    scores = emit(op.matmul(x, key))
    return relax.Tuple([y, relax.Tuple([z, relax.Tuple([scores])])])


@pytest.fixture(scope="module", params=["int8", "microscopiq-w4a8", "microscopiq-w2a4"])
def run(request):
    """Return compilation, session, inputs and result of operators that run one by one."""
    mod = make.module(everything, (2, 3, 10), make.IMAGE, (2, 10, 7))
    state, inputs = make.compiled(mod, request.param, graph=False), make.inputs_of(mod)
    session = Session(state.executable)
    return state, session, inputs, session.run(*inputs)


def test_cycles_add_up(run):
    state, _, _, result = run
    assert result.cycles == sum(call["cycles"] for call in result.calls) > 0
    assert result.seconds == result.cycles / (state.arch.clock_mhz * 1e6)
    assert set(result.unit_cycles) == {unit.name.lower() for unit in Unit} - {"control"}
    for unit, parts in result.unit_cycles.items():
        assert sum(parts.values()) == result.cycles, unit
        assert min(parts.values()) >= 0, unit
    for call in result.calls:
        assert all(sum(parts.values()) == call["cycles"] for parts in call["units"].values())


def test_macs_are_those_of_the_layers(run):
    state, _, _, result = run
    assert result.macs == sum(record.macs for record in state.layers.values())
    by_name = {call["name"]: call["macs"] for call in result.calls}
    for symbol, record in state.layers.items():
        assert by_name[symbol] == record.macs
    assert 0 < result.utilisation <= 1
    assert result.saturations == 0


def test_calls_come_in_order_with_their_layers(run):
    state, _, _, result = run
    assert len(result.calls) == len(state.layers)
    assert {call["name"]: call["layer"] for call in result.calls} == {
        symbol: record.layer for symbol, record in state.layers.items()
    }
    linear = [call["layer"] for call in result.calls if call["layer"].startswith("linear")]
    assert linear == ["linear0", "linear1", "linear2"]


def test_bytes_cover_weights_and_outputs(run):
    state, _, _, result = run
    known = [record.weights for record in state.layers.values() if record.weights]
    weights = sum(row.weight_bytes for row in known)
    assert result.bytes_moved["read"] > weights / 2  # a directory isn't transferred
    assert result.bytes_moved["written"] >= sum(output.nbytes for output in result.outputs)
    parts = [call["dram_bytes"] for call in result.calls]
    for way in ("read", "written"):
        assert result.bytes_moved[way] == sum(part[way] for part in parts)


def test_nested_outputs_are_flat(run):
    shapes = [output.shape for output in run[3].outputs]
    assert shapes == [(2, 3, 6), (2, 6, 7, 6), (2, 3, 7)]


def test_a_second_run_is_independent(run):
    _, session, inputs, first = run
    second = session.run(*inputs)
    make.assert_equal_bits(first.outputs, second.outputs)
    assert first.to_json() == second.to_json()
    third = session.run(*(2 * value for value in inputs))
    assert third.cycles == first.cycles
    # Powers of two pass through exponents, but biases stay.
    make.assert_equal_bits([2 * first.outputs[1], 4 * first.outputs[2]], third.outputs[1:])


def test_structural_mode_gives_the_same(run):
    state, session, inputs, expected = run
    stepped = Session(state.executable, mode="structural").run(*inputs)
    make.assert_equal_bits(expected.outputs, stepped.outputs)
    assert stepped.to_json() == expected.to_json()
    # The mode is the session's, though both share the executable's native module.
    assert session.run(*inputs).to_json() == expected.to_json()
    with pytest.raises(ConfigError, match="unknown simulator mode 'structual'; did you mean"):
        Session(state.executable, mode="structual")


def test_torch_and_tvm_inputs(run):
    torch = pytest.importorskip("torch")
    _, session, inputs, expected = run
    kinds = [
        [torch.from_numpy(value) for value in inputs],
        [torch.from_numpy(value).requires_grad_() for value in inputs],
        [tvm.runtime.tensor(value) for value in inputs],
        [np.asfortranarray(value) for value in inputs],
        [torch.from_numpy(np.asfortranarray(value)) for value in inputs],
    ]
    for given in kinds:
        make.assert_equal_bits(expected.outputs, session.run(*given).outputs)


def test_wrong_inputs_are_refused(run):
    _, session, inputs, _ = run
    for wrong in (
        inputs[:2],
        [*inputs, inputs[0]],
        [inputs[0].astype(np.float64), *inputs[1:]],
        [inputs[0][:1], *inputs[1:]],
        [inputs[1], inputs[0], inputs[2]],
        ["x", *inputs[1:]],
    ):
        with pytest.raises(InputError):
            session.run(*wrong)
    with pytest.raises(InputError, match="nowhere"):
        session.run(*inputs, function="nowhere")


def test_non_finite_activation_is_an_error(run):
    _, session, inputs, _ = run
    broken = inputs[0].copy()
    broken[0, 0, 0] = np.inf
    with pytest.raises(Exception, match="non-finite"):
        session.run(broken, *inputs[1:])
    assert session.run(*inputs).cycles == run[3].cycles


def test_result_as_json(run):
    result = run[3]
    text = json.loads(json.dumps(result.to_json()))
    assert text["version"] == RESULT_VERSION
    assert "outputs" not in text and text["macs"] == result.macs
    assert len(text["calls"]) == len(result.calls)
    assert "array(" not in repr(result)


def test_merged_results_add_up(run):
    result = run[3]
    both = merge([result, result])
    assert (both.cycles, both.macs) == (2 * result.cycles, 2 * result.macs)
    assert both.utilisation == pytest.approx(result.utilisation)
    assert len(both.outputs) == 2 * len(result.outputs)
    assert all(sum(parts.values()) == both.cycles for parts in both.unit_cycles.values())
