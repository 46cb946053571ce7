"""LSTM, GRU and RNN: against torch, and against ONNX Runtime where torch has no such thing."""

import numpy as np
import onnx
import onnx.compose
import onnx.helper as oh
import pytest

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.options import Options
from microscopiq.runtime.session import Session
from microscopiq.target.errors import UnsupportedError
from tests.compiler.frontend.onnx_models import by_runtime, feeds, model, on_llvm, value

STEPS, BATCH, WIDTH, HIDDEN = 4, 3, 6, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where ONNX's gates are among torch's."""


def recurrent(kind, inputs=(), constants=None, **attributes):
    """Return a model of one operator: x at run time, random weights, what else is given."""
    rng = np.random.default_rng(3)
    rows, ways = GATES[kind] * HIDDEN, 2 if attributes.get("direction") == "bidirectional" else 1
    weights = {
        "w": rng.standard_normal((ways, rows, WIDTH)),
        "r": rng.standard_normal((ways, rows, HIDDEN)) / 2,
        "b": rng.standard_normal((ways, 2 * rows)),
        "h": rng.standard_normal((ways, BATCH, HIDDEN)),
        "c": rng.standard_normal((ways, BATCH, HIDDEN)),
        "p": rng.standard_normal((ways, 3 * HIDDEN)),
        "lengths": np.array([2, STEPS, 1]),
    } | (constants or {})
    names = ["x", "w", "r", *inputs]
    used = {
        name: np.asarray(weights[name], np.int32 if name == "lengths" else np.float32)
        for name in names[1:] if name
    }  # fmt: skip
    outputs = ["y", "y_h", "y_c"][: 3 if kind == "LSTM" else 2]
    node = oh.make_node(kind, names, outputs, hidden_size=HIDDEN, **attributes)
    made = model(
        [node], [value("x", [STEPS, BATCH, WIDTH])], [value(n, None) for n in outputs], used
    )
    return made, used


def agrees(of) -> None:
    inputs = feeds(of)
    for found, wanted in zip(
        on_llvm(load_model(of), list(inputs.values())), by_runtime(of, inputs), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_gives_what_torch_gives(kind, bidirectional):
    torch = pytest.importorskip("torch")
    attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
    way = "bidirectional" if bidirectional else "forward"
    of, used = recurrent(kind, ["b"], direction=way, **attributes)
    module = getattr(torch.nn, kind)(WIDTH, HIDDEN, bidirectional=bidirectional)
    rows, place = GATES[kind] * HIDDEN, np.argsort(ORDER[kind])

    def in_their_order(array):
        return torch.from_numpy(array.reshape(GATES[kind], HIDDEN, -1)[place].reshape(rows, -1))

    with torch.no_grad():
        for way in range(1 + bidirectional):
            end = "_l0_reverse" if way else "_l0"
            biases = used["b"][way, :rows], used["b"][way, rows:]
            getattr(module, f"weight_ih{end}").copy_(in_their_order(used["w"][way]))
            getattr(module, f"weight_hh{end}").copy_(in_their_order(used["r"][way]))
            getattr(module, f"bias_ih{end}").copy_(in_their_order(biases[0])[:, 0])
            getattr(module, f"bias_hh{end}").copy_(in_their_order(biases[1])[:, 0])
        x = feeds(of)["x"]
        wanted, state = module(torch.from_numpy(x))
    y, y_h, *y_c = on_llvm(load_model(of), [x])
    joined = y.transpose(0, 2, 1, 3).reshape(STEPS, BATCH, -1)
    np.testing.assert_allclose(joined, wanted.numpy(), rtol=1e-5, atol=1e-6)
    for found, want in zip([y_h, *y_c], state if kind == "LSTM" else [state], strict=True):
        np.testing.assert_allclose(found, want.numpy(), rtol=1e-5, atol=1e-6)


CASES = [
    ("LSTM", ["b", "lengths", "h", "c", "p"], {"direction": "bidirectional"}),
    ("LSTM", ["", "", "h", "c"], {"direction": "reverse", "input_forget": 1}),
    ("LSTM", ["b"], {"clip": 0.4, "activations": ["HardSigmoid", "Relu", "Softsign"],
                     "activation_alpha": [0.3], "activation_beta": [0.4]}),
    ("GRU", ["b", "lengths", "h"], {"direction": "bidirectional"}),
    ("GRU", ["b"], {"direction": "reverse", "linear_before_reset": 1}),
    ("RNN", ["b", "lengths", "h"], {"direction": "reverse"}),
    ("RNN", [], {"activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
    ("RNN", ["b"], {"activations": ["Elu", "ScaledTanh"], "direction": "bidirectional",
                    "activation_alpha": [0.5, 0.7], "activation_beta": [1.0, 0.6]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "attributes"), CASES)
def test_it_gives_what_onnx_runtime_gives(kind, inputs, attributes):
    agrees(recurrent(kind, inputs, **attributes)[0])


def test_the_batch_can_come_first():
    of, used = recurrent("LSTM", ["b", "", "h", "c"])
    first = {name: used[name].transpose(1, 0, 2) for name in "hc"}
    other, _ = recurrent("LSTM", ["b", "", "h", "c"], first, layout=1)
    other.graph.input[0].CopyFrom(value("x", [BATCH, STEPS, WIDTH]))
    x = feeds(of)["x"]
    y, y_h, y_c = on_llvm(load_model(of), [x])
    found = on_llvm(load_model(other), [x.transpose(1, 0, 2).copy()])
    wanted = [y.transpose(2, 0, 1, 3), y_h.transpose(1, 0, 2), y_c.transpose(1, 0, 2)]
    for one, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, want, rtol=1e-5, atol=1e-6)


def beside_each_other(kind, ways, inputs, **attributes):
    """Return a model of the operator in several directions."""
    every = [
        onnx.compose.add_prefix(
            recurrent(kind, inputs, direction=way, **attributes)[0], f"{way}_", rename_inputs=False
        )
        for way in ways
    ]
    for of in every[1:]:
        every[0].graph.node.extend(of.graph.node)
        every[0].graph.initializer.extend(of.graph.initializer)
        every[0].graph.output.extend(of.graph.output)
    return every[0]


@pytest.mark.parametrize("kind", GATES)
def test_its_products_are_on_the_array(kind):
    """In each direction, of all steps at once with W, and of each step with R."""
    attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
    of = beside_each_other(kind, ["reverse", "bidirectional"], ["b"], **attributes)
    compiled = compile_model(load_model(of), Options(recipe="int8", strict=True))
    rows = [record.work.m for record in compiled.layers.values() if record.macs]
    # The first step's state is a constant, and so is its product.
    assert sorted(rows) == [BATCH] * 3 * (STEPS - 1) + [STEPS * BATCH] * 3
    x = feeds(of)["x"]
    found = Session(compiled.executable).run(x).outputs
    for one, other in zip(found, on_llvm(compiled.quantized, [x]), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, want in zip(found, by_runtime(of, {"x": x}), strict=True):
        np.testing.assert_allclose(one, want, atol=0.1)


def test_what_onnx_does_not_know_is_refused():
    with pytest.raises(UnsupportedError, match="RNN: unknown activation 'gauss'"):
        load_model(recurrent("RNN", [], activations=["Gauss"])[0])
    with pytest.raises(UnsupportedError, match="LSTM: 1 activations; 3 are needed"):
        load_model(recurrent("LSTM", [], activations=["Tanh"])[0])
