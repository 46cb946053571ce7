"""onnx.backend with our target: a fixed sample of its tests; `make nightly` runs all of them."""

import warnings

import numpy as np
import onnx.helper as oh
import pytest

from benchmarks import onnx_llvm
from benchmarks.onnx_backend import read_csv
from benchmarks.onnx_suite import (
    ALL,
    LEAST_DB,
    PART,
    PASSED,
    compare,
    node_tests,
    sqnr_db,
    verdict,
)
from microscopiq.compiler.onnx_backend import MicroscopiqBackend
from microscopiq.target.errors import InputError
from tests.compiler.frontend.onnx_models import model, value
from tests.conftest import GOLDEN_DIR

RUN = GOLDEN_DIR.parent / "e2e" / "onnx_backend.csv"
SAMPLE = (
    "test_add_bcast",
    "test_averagepool_2d_ceil",
    "test_cast_FLOAT_to_BFLOAT16",
    "test_clip_example",
    "test_convtranspose_output_shape",
    "test_cumprod_1d",
    "test_einsum_sum_bfloat16",
    "test_gemm_alpha",
    "test_image_decoder_decode_png_rgb",
    "test_maxpool_with_argmax_2d_precomputed_pads",
    "test_nllloss_NC",
    "test_onehot_with_axis",
    "test_reduce_max_empty_set",
    "test_reshape_negative_dim",
    "test_resize_upsample_scales_linear",
    "test_slice_neg",
    "test_string_concat",
    "test_training_dropout",
)


@pytest.fixture(scope="module")
def suite():
    return node_tests()


@pytest.fixture(scope="module")
def run():
    return {row["test"]: row for row in read_csv(RUN)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_what_passed_passes(name, suite, run):
    assert verdict(suite[name])["result"] == run[name]["result"]


@pytest.mark.slow
def test_how_much_the_machine_runs(suite):
    """All of a product, a softmax and a sort; not of a scatter that replaces, or moves nothing."""
    for name in ("softmax_axis_1", "top_k", "matmul_2d"):
        assert verdict(suite[f"test_{name}"])["machine"] == ALL
    assert verdict(suite["test_scatter_elements_with_axis"])["machine"] == PART
    assert verdict(suite["test_reshape_negative_dim"])["machine"] == PART


@pytest.mark.slow
def test_the_run_is_of_the_suite_that_is_installed(suite, run):
    """Another release of onnx has other tests: then run it again."""
    assert run.keys() == suite.keys()
    assert sum(row["result"] in PASSED for row in run.values()) >= 1654
    failed = [row for row in run.values() if row["result"] not in PASSED]
    assert all(row["reason"] and row["llvm"] == onnx_llvm.FAILS for row in failed)


@pytest.mark.slow
def test_a_wrong_value_is_noticed(suite):
    test = suite["test_relu"]
    (inputs, (wanted,)) = test.data_sets[0]
    with pytest.raises(AssertionError):
        compare([wanted + 1e-2], [wanted], test.rtol, test.atol)
    with pytest.raises(AssertionError, match="is float64, float32 is wanted"):
        compare([wanted.astype(np.float64)], [wanted], test.rtol, test.atol)
    assert sqnr_db(wanted, wanted * 0.8) < LEAST_DB


@pytest.mark.slow
def test_tvm_alone_is_judged_too(suite):
    """A test that it passes, one whose shape it wants to know, and one that it gets wrong."""
    for name in ("test_relu", "test_reshape_negative_dim"):
        assert onnx_llvm.verdict(suite[name])["result"] == onnx_llvm.PASSES
    wrong = onnx_llvm.verdict(suite["test_cast_FLOAT_to_FLOAT8E4M3FN"])
    assert wrong["result"] == onnx_llvm.FAILS and "AssertionError" in wrong["reason"]


def reshape():
    node = oh.make_node("Reshape", ["x", "shape"], ["y"])
    inputs = [value("x", ["n", 6]), value("shape", [2], np.int64)]
    return model([node], inputs, [value("y", None)])


def test_a_shape_or_size_that_changes_compiles_again():
    prepared = MicroscopiqBackend.prepare(reshape(), recipe="int8")
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is assumed of the batch
        assert prepared.run([x, np.int64([3, 4])])[0].shape == (3, 4)
        first = prepared.session
        np.testing.assert_array_equal(
            prepared.run({"x": x + 1, "shape": np.int64([3, 4])})[0], (x + 1).reshape(3, 4)
        )
        assert prepared.session is first
        assert prepared.run([x, np.int64([12, 1])])[0].shape == (12, 1)
        assert prepared.run([x[:1], np.int64([2, 3])])[0].shape == (2, 3)


def test_inputs_are_those_of_the_model():
    prepared = MicroscopiqBackend.prepare(reshape())
    with pytest.raises(InputError, match=r"takes 2 input\(s\) \(x, shape\); given 1"):
        prepared.run([np.zeros((1, 6), np.float32)])
    with pytest.raises(InputError, match="takes the inputs x, shape; given x, size"):
        prepared.run({"x": np.zeros((1, 6), np.float32), "size": np.int64([6, 1])})
    assert MicroscopiqBackend.supports_device("CPU") and not MicroscopiqBackend.supports_device(
        "CUDA"
    )
