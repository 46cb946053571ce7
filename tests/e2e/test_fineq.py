"""FineQ's machine from a model to the result: the demo's transformer, and the command line."""

import numpy as np
import pytest

import microscopiq as mq
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.lower import TWO_ACTIVATIONS
from microscopiq.compiler.verify import run_reference

IMAGES = (60, 1, 8, 8)


@pytest.fixture(scope="module")
def transformer(demo_folder):
    """Return the compiled model, a batch and its result."""
    options = Options(recipe="fineq-w2a8", arch="fineq-64x64")
    state = compile_model(load_model(demo_folder / "digits_vit.onnx"), options)
    batch = np.random.default_rng(0).random(IMAGES, np.float32)
    return state, batch, mq.Session(state.executable).run(batch)


def test_the_output_equals_llvm(transformer):
    state, batch, result = transformer
    kinds = [row.kind for row in state.layers.values()]
    assert kinds.count("linear") == 25 and kinds.count("conv2d") == 1 and "attention" not in kinds
    (expected,) = run_reference(state, [batch])
    np.testing.assert_array_equal(result.outputs[0].view(np.int32), expected.view(np.int32))


def test_attention_is_on_the_host_and_the_rest_takes_three_cycles_a_row(transformer):
    state, _, result = transformer
    assert ("main", "matmul", TWO_ACTIVATIONS, 8) in state.host
    array = result.unit_cycles["array"]
    # Each group of 128 inputs has a weight beyond 1 in some column, so each plane has.
    assert array["temporal"] == 2 * array["busy"] > 0
    macs = sum(row.macs for row in state.layers.values())
    assert result.macs == macs
    adds = sum(call["temporal_adds"] for call in result.calls)
    assert 0.2 * macs < adds < macs  # the mean magnitude of a weight
    assert sum(call["temporal_sums"] for call in result.calls) == 3 * macs


def test_command_line(shell, demo_folder, tmp_path):
    model, machine = demo_folder / "digits_vit.onnx", ("--arch", "fineq-64x64")
    recipe = ("--recipe", "fineq-w2a8")
    done = shell("compile", model, "-o", tmp_path / "vit.so", *machine, *recipe)
    assert done.code == 0, done.err
    assert "fineq" in done.out and TWO_ACTIVATIONS in " ".join(done.out.split())
    strict = shell("compile", model, "-o", tmp_path / "vit.so", *machine, *recipe, "--strict")
    assert strict.code == 2 and f"matmul: {TWO_ACTIVATIONS} (fineq-64x64: fineq)" in strict.err
    own = shell("compile", model, "-o", tmp_path / "vit.so", *machine)
    assert own.code == 0 and "fineq-w2a8" in own.out, own.err
    other = ("--recipe", "microscopiq-w4a8")
    wrong = shell("compile", model, "-o", tmp_path / "vit.so", *machine, *other)
    assert wrong.code == 2 and "fineq-64x64 can't decode weight format 'ms4'" in wrong.err
    np.savez(tmp_path / "x.npz", np.zeros(IMAGES, np.float32))
    run = shell("run", tmp_path / "vit.so", "--input", tmp_path / "x.npz")
    assert run.code == 0 and "temporal" in run.out and "recon  fill" not in run.out
    area = shell("area", "fineq-64x64")
    assert area.code == 0 and "temporal PE" in area.out and "group decoder" in area.out
