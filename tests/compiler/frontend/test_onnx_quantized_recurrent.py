"""LSTM with weights of integers, against ONNX Runtime, and its products on the array."""

import numpy as np
import onnxruntime
import pytest
from onnx.helper import make_node

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.options import Options
from microscopiq.runtime.session import Session
from microscopiq.target.errors import UnsupportedError
from tests.compiler.frontend.quantized_models import RUNTIME, codes, model, runtime
from tests.compiler.relax_modules import run_llvm

STEPS, WIDTH, HIDDEN = 4, 6, 8
RESULTS = {"y": "float32", "y_h": "float32", "y_c": "float32"}


def lstm(dtype, columns, way, given=(), batch=1):
    """Return a model of one operator, and its inputs: x and what else isn't a constant."""
    rng = np.random.default_rng(1)
    ways, rows = 2 if way == "bidirectional" else 1, 4 * HIDDEN
    scales = (ways, rows) if columns else (ways,)
    constants = {
        "w": codes(rng, dtype, ways, WIDTH, rows),
        "r": codes(rng, dtype, ways, HIDDEN, rows),
        "b": rng.standard_normal((ways, 2 * rows)).astype(np.float32),
        "lengths": np.full(batch, STEPS - 1, np.int32),
        "h": rng.standard_normal((ways, batch, HIDDEN)).astype(np.float32),
        "c": rng.standard_normal((ways, batch, HIDDEN)).astype(np.float32),
        "p": rng.standard_normal((ways, 3 * HIDDEN)).astype(np.float32),
    }
    for name in ("w", "r"):
        constants[f"{name}_s"] = (rng.random(scales, np.float32) + 0.5) / 150
        # ONNX Runtime wants one for all columns.
        zero = np.full(scales, 0 if dtype == "int8" else 128 + rng.integers(-9, 9))
        constants[f"{name}_z"] = zero.astype(dtype)
    optional = [name if name in given else "" for name in ("b", "lengths", "h", "c", "p")]
    names = ["x", "w", "r", *optional, "w_s", "w_z", "r_s", "r_z"]
    node = make_node(
        "DynamicQuantizeLSTM", names, list(RESULTS), domain=RUNTIME, hidden_size=HIDDEN,
        direction=way,
    )  # fmt: skip
    x = {"x": rng.standard_normal((STEPS, batch, WIDTH)).astype(np.float32)}
    used = {name: each for name, each in constants.items() if name in names}
    return model([node], x, RESULTS, **used), x


CASES = (
    ("int8", False, "forward", ("b",), 1),
    ("uint8", False, "bidirectional", ("b", "h", "c"), 1),
    ("int8", True, "reverse", ("b", "p", "lengths"), 1),
    ("uint8", True, "forward", (), 3),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_gives_what_onnx_runtime_gives(case):
    """Codes are equal but where sums of fp32 in another order lie on another side of a half."""
    given, x = lstm(*case)
    # With more threads, ONNX Runtime gives parts of a batch scales of their own.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(given.SerializeToString(), options)
    wanted = session.run(None, x)
    for want, have in zip(wanted, run_llvm(load_model(given), [x["x"]]), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=2e-3)
        assert np.median(np.abs(have - want)) < 1e-6


def test_its_products_are_on_the_array():
    """Of each direction all steps with W, and each step with R but the first, whose state is 0."""
    given, x = lstm("int8", False, "bidirectional", ("b",))
    compiled = compile_model(load_model(given), Options(strict=True))
    rows = [record.work.m for record in compiled.layers.values() if record.macs]
    assert sorted(rows) == [1] * 2 * (STEPS - 1) + [STEPS] * 2
    found = Session(compiled.executable).run(x["x"]).outputs
    for one, other in zip(found, run_llvm(compiled.quantized, [x["x"]]), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(found[0], runtime(given, x)[0], atol=2e-3)


def test_weights_that_are_inputs_are_refused():
    given, x = lstm("int8", False, "forward")
    tensor = next(each for each in given.graph.initializer if each.name == "r")
    x["r"] = codes(np.random.default_rng(0), "int8", 1, HIDDEN, 4 * HIDDEN)
    kept = [each for each in given.graph.initializer if each is not tensor]
    other = model(list(given.graph.node), x, RESULTS)
    other.graph.initializer.extend(kept)
    with pytest.raises(UnsupportedError, match="DynamicQuantizeLSTM: its R weights must be a cons"):
        load_model(other)
