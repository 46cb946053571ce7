"""An import beside its source: `frontend/check.py`, and what `load_model(..., check=True)` says."""

import numpy as np
import onnx
import pytest
from tvm import relax

import microscopiq as mq
from microscopiq.compiler.frontend.check import distance_db, random_inputs, run_fp32
from microscopiq.compiler.frontend.onnx.converters import CONVERTERS
from microscopiq.compiler.frontend.torch.converters import binary
from tests.compiler.relax_modules import module

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")


def test_the_distance_is_that_of_the_worst_output():
    one = np.float32([1, 2, 3])
    assert distance_db([one, one], [one, one]) == np.inf
    assert distance_db([one, one], [one, one * 1.01]) == pytest.approx(40)
    # What a sigmoid rounds near 1 it may round near 0.
    assert distance_db([one * 1e-6], [one * 1.02e-6]) == np.inf
    assert distance_db([one * 1e-6], [one * 1.01e-6], unit=0.0) == pytest.approx(40, abs=0.1)
    holes = np.float32([1, np.nan, np.inf])
    assert distance_db([holes], [holes]) == np.inf
    for other in ([np.nan, 1, np.inf], [1, np.nan, -np.inf], [1, np.nan, 3]):
        assert distance_db([holes], [np.float32(other)]) == -np.inf
    assert distance_db([one], [one[:, None]]) == distance_db([one], []) == -np.inf
    assert distance_db([np.int64([1, 2])], [np.int64([1, 3])]) == -np.inf
    assert distance_db([np.zeros(2, np.float32)], [np.ones(2, np.float32)]) == -np.inf


def test_random_inputs_fit_the_module():
    mod = module(lambda emit, x, y: emit(relax.op.add(x, y)), (2, 3), (3,))
    inputs = random_inputs(mod)
    assert {name: array.shape for name, array in inputs.items()} == {"x0": (2, 3), "x1": (3,)}
    np.testing.assert_array_equal(
        run_fp32(mod, list(inputs.values()))[0], inputs["x0"] + inputs["x1"]
    )


def test_a_right_import_passes():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).eval()
    mq.load_model(model, (torch.randn(2, 4),), check=True)
    mq.load_model(model.half(), (torch.randn(2, 4).half(),), check=True)


def relu_model():
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [2, 3]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


def test_a_wrong_import_is_an_error(monkeypatch):
    mq.load_model(relu_model(), check=True)
    monkeypatch.setitem(CONVERTERS, "Relu", lambda _bb, inputs, *_: relax.op.abs(inputs[0]))
    with pytest.raises(mq.InputError, match=r"isn't what ONNX Runtime computes \(output 0: -?\d"):
        mq.load_model(relu_model(), check=True)
    mq.load_model(relu_model())


class Scaled(torch.nn.Module):
    def forward(self, x):
        return x * 2.5


def test_a_wrong_import_from_torch_is_an_error(monkeypatch):
    monkeypatch.setitem(binary.OPERATORS, "mul", relax.op.add)
    with pytest.raises(mq.InputError, match="isn't what torch computes"):
        mq.load_model(Scaled(), (torch.randn(2, 4),), check=True)


def test_a_module_has_no_source():
    mod = module(lambda emit, x: emit(relax.op.nn.relu(x)), (2,))
    with pytest.raises(mq.ConfigError, match="a module is what it is"):
        mq.load_model(mod, check=True)
