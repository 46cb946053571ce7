"""Models that ONNX Runtime quantized: their integers on the array, its values to the last bit."""

import logging

import numpy as np
import pytest
from onnxruntime.quantization import QuantType

from microscopiq.compiler.driver import compile_model, quantize
from microscopiq.compiler.options import Options
from microscopiq.compiler.partition.constraints import PRODUCTS
from microscopiq.compiler.weight_report import weight_report
from microscopiq.runtime.session import Session
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError
from tests.compiler.frontend.quantized_models import runtime
from tests.e2e.quantized_networks import quantized, samples
from tests.numpy_calls import check_calls
from tests.tolerance import sqnr_db

UNSIGNED = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
"""With 7 bits, because full weights saturate in ONNX Runtime's sums on CPUs without VNNI."""
SIGNED = {"activation_type": QuantType.QInt8, "per_channel": True}
CNN = {"int_conv2d": 2, "int_linear": 1}
BERT = {"int_linear": 6, "int_matmul": 2}
CASES = [
    ("cnn", "QDQ", UNSIGNED, CNN),
    pytest.param("cnn", "QOperator", SIGNED, CNN, marks=pytest.mark.slow),
    pytest.param("bert", "QDQ", SIGNED, BERT, marks=pytest.mark.slow),
    ("bert", "QOperator", UNSIGNED, BERT),
]


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("name", "how", "options", "kinds"), CASES)
def test_static_models_equal_onnx_runtime(name, how, options, kinds, tmp_path):
    given = quantized(name, how, tmp_path, reduce_range=True, **options)
    state = compile_model(given, Options(arch="tiny-4x4"))
    found = [record.kind for record in state.layers.values() if record.kind != "vector"]
    assert {kind: found.count(kind) for kind in found} == kinds
    assert not [row for row in state.host if row.operator in PRODUCTS]
    inputs = samples(name, 1, seed=9)[0]
    session = Session(state.executable)
    # What ONNX Runtime fuses isn't what the model says where it rounds sums of codes otherwise.
    want = runtime(given, inputs, as_written=True)
    np.testing.assert_array_equal(session.run(*inputs.values()).outputs[0], want[0])


def test_numpy_gives_the_same_integers(tmp_path):
    given = quantized("cnn", "QDQ", tmp_path, reduce_range=True, **UNSIGNED)
    state = compile_model(given, Options(arch="tiny-4x4"))
    inputs = list(samples("cnn", 1, seed=9)[0].values())
    assert check_calls(state.executable, inputs, load_arch("tiny-4x4")) > 0


def test_dynamic_models_are_near_onnx_runtime(tmp_path):
    given = quantized("bert", "dynamic", tmp_path, weight_type=QuantType.QUInt8)
    state = compile_model(given, Options(arch="tiny-4x4"))
    kinds = [record.kind for record in state.layers.values()]
    assert kinds.count("int_linear") == 6 and kinds.count("attention") == 2
    assert not [row for row in state.host if row.operator in PRODUCTS]
    inputs = samples("bert", 1, seed=9)[0]
    found = Session(state.executable).run(*inputs.values()).outputs[0]
    # It leaves attention in fp32, which the array quantizes at run time.
    assert sqnr_db(runtime(given, inputs)[0], found) > 30


def test_layers_are_reported_and_a_recipe_on_top_is_refused(tmp_path):
    given = quantized("cnn", "QDQ", tmp_path, **UNSIGNED, per_channel=True)
    rows = weight_report(quantize(given))["layers"]
    assert [row["kind"] for row in rows] == ["int_conv2d", "int_conv2d", "int_linear"]
    assert {row["weight_format"] for row in rows} == {"int8"}
    told = "the model comes quantized: 3 of its products multiply integers of its own"
    with pytest.raises(ConfigError, match=f"{told}.*a recipe on top would quantize a second time"):
        quantize(given, "int8")
    with pytest.raises(ConfigError, match=f"{told}.*leave the calibration out"):
        quantize(given, calibration=samples("cnn", 1))
