"""OliVe's machine from a model to the result: the demo's transformer, and the command line."""

import numpy as np
import pytest

import microscopiq as mq
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.verify import run_reference
from microscopiq.target.arch import DEFAULT_ARCH

IMAGES = (60, 1, 8, 8)


@pytest.fixture(scope="module")
def transformer(demo_folder):
    """Return the compiled model, a batch and its result."""
    options = Options(recipe="olive-w4a4", arch="olive-64x64")
    state = compile_model(load_model(demo_folder / "digits_vit.onnx"), options)
    batch = np.random.default_rng(0).random(IMAGES, np.float32)
    return state, batch, mq.Session(state.executable).run(batch)


def test_the_output_equals_llvm(transformer):
    state, batch, result = transformer
    (expected,) = run_reference(state, [batch])
    np.testing.assert_array_equal(result.outputs[0].view(np.int32), expected.view(np.int32))


def test_weights_of_8_bits_have_a_quarter_of_the_peak(transformer):
    """Attention multiplies two activations, int8 by int8: half the columns, two cycles a row."""
    _, _, result = transformer
    peaks = {call["weight_format"]: call["peak_macs"] for call in result.calls if call["macs"]}
    assert peaks == {"olive4": 64 * 64, "int8": 32 * 32}
    assert 0 < result.utilisation < 1 and result.energy_pj["array"] > 0


def test_command_line(shell, demo_folder, tmp_path):
    model, out = demo_folder / "digits_cnn.onnx", tmp_path / "cnn.so"
    wrong = shell("compile", model, "-o", out, "--recipe", "olive-w4a4")
    assert wrong.code == 2 and f"{DEFAULT_ARCH} can't decode weight format 'olive4'" in wrong.err
    text = """name = "wide"
description = "activations of 8 bits"
method = "olive"
weight_format = "olive4"
activation = "mx-int8"
"""
    (tmp_path / "wide.toml").write_text(text)
    machine = ("--arch", "olive-64x64")
    wide = shell("compile", model, "-o", out, *machine, "--recipe", tmp_path / "wide.toml")
    assert wide.code == 2, wide.out
    message = "olive-64x64 multiplies 'olive4' by activations of up to 4 bits, and 'mx-int8' has 8"
    assert message in " ".join(wide.err.split())
    area = shell("area", "olive-64x64")
    assert area.code == 0 and "pair decoder" in area.out and "joined PEs" in area.out
