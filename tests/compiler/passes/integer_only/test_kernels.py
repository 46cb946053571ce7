"""compiler/passes/integer_only/kernels.py: NumPy from the papers' formulas, LLVM, the machine."""

import numpy as np
import pytest
from tvm import relax

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.integer_only import kernels, reference
from microscopiq.compiler.passes.integer_only.codes import dyadic_number
from microscopiq.compiler.passes.vectorize.vectorize import KERNEL
from microscopiq.runtime.session import Session
from tests.compiler.relax_modules import run_llvm

RNG = np.random.default_rng(2)


def integers(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape, dtype=np.int32)


CASES = {
    "shiftmax": (
        lambda x: kernels.shiftmax(x, 64, 10),
        lambda x: reference.shiftmax(x, 64, 10),
        integers(-1000, 1000, 2, 6, 40),
    ),
    "equal logits": (
        lambda x: kernels.shiftmax(x, 64, 10),
        lambda x: reference.shiftmax(x, 64, 10),
        np.zeros((2, 128), np.int32),
    ),
    "gated": (
        lambda x: kernels.gated(x, 1 << 30, 3, 64, 10),
        lambda x: x * reference.shift_gate(reference.dyadic(x, 1 << 30, 3), 64, 10),
        integers(-32767, 32768, 5, 40),
    ),
    "layer norm": (
        lambda x: kernels.norm(x, 5, True),
        lambda x: reference.norm(x, 5, True),
        integers(-2000, 2000, 7, 48),
    ),
    "rms norm of nothing": (
        lambda x: kernels.norm(x, 0, False),
        lambda x: reference.norm(x, 0, False),
        np.zeros((3, 20), np.int32),
    ),
    "requantize": (
        lambda x: kernels.requantize(x, [(1 << 30) + 77, 7, 3, None], 127, "int8"),
        lambda x: np.clip(reference.dyadic(x, (1 << 30) + 77, 7) + 3, -127, 127),
        integers(-90000, 90000, 5, 40),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_in_every_bit(name):
    kernel, formula, x = CASES[name]
    builder = relax.BlockBuilder()
    var = relax.Var("x", relax.TensorType(x.shape, "int32"))
    with builder.function("main", [var]):
        with builder.dataflow():
            given = builder.call_te(kernel, var, primfunc_attrs={KERNEL: True})
            y = builder.emit_output(given)
        builder.emit_func_output(y)
    expected = formula(x.astype(np.int64))
    np.testing.assert_array_equal(run_llvm(builder.get(), [x])[0], expected)
    state = compile_model(builder.get(), Options(arch="tiny-4x4", vector=True))
    run = Session(state.executable).run(x)
    np.testing.assert_array_equal(run.outputs[0], expected)
    assert run.cycles > 0 and state.host == ()


def test_near_the_functions_that_they_stand_for():
    x = integers(-500, 500, 4, 30).astype(np.int64)
    powers = np.exp(x / 64)
    softmax = powers / powers.sum(-1, keepdims=True)
    assert np.abs(reference.shiftmax(x, 64, 10) / 128 - softmax).max() < 0.03
    gate = 1 / (1 + np.exp(-x / 64))
    assert np.abs(reference.shift_gate(x, 64, 10) / (1 << 15) - gate).max() < 0.02
    centered = x - x.mean(-1, keepdims=True)
    norm = centered / np.sqrt((centered**2).mean(-1, keepdims=True))
    assert np.abs(reference.norm(x, 0, True) * np.sqrt(30) / (1 << 30) - norm).max() < 0.02


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.75, -3e-5, 1e-12, 5.5e8, 1 - 2**-40])
def test_dyadic_numbers(ratio):
    factor, shift = dyadic_number(ratio)
    assert int(factor) / 2.0 ** (31 + int(shift)) == pytest.approx(ratio, rel=1e-6, abs=2.0**-63)


def test_a_ratio_beyond_the_shifts():
    with pytest.raises(ValueError, match="a ratio of 2e\\+09; allowed: below 2\\*\\*30"):
        dyadic_number(2e9)
