"""compiler/passes/integer_only/rules: each operator in integers beside itself in fp32.

All of them stand in a few models, so that few are built; what is compared is each output.
"""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.integer_only.check import problems
from microscopiq.runtime.session import Session
from microscopiq.target.errors import InputError, UnsupportedError
from tests.compiler.relax_modules import run_llvm

RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def module(inputs: dict[str, tuple], body) -> tvm.IRModule:
    """Return a model of inputs ``(shape, dtype)`` that gives a tuple of values."""
    builder = relax.BlockBuilder()
    params = [relax.Var(name, relax.TensorType(*each)) for name, each in inputs.items()]
    with builder.function("main", params, attrs={"num_input": len(params)}):
        with builder.dataflow():
            made = [builder.emit(each) for each in body(builder.emit, *params)]
            output = builder.emit_output(relax.Tuple(made))
        builder.emit_func_output(output)
    return builder.get()


def compiled(mod: tvm.IRModule, samples):
    return compile_model(mod, Options("integer-only", arch="int8-64x64", calibration=samples))


def hold(mod: tvm.IRModule, samples, inputs, decibels: list[float]):
    """Hold a model's outputs against fp32, its bits against LLVM, and nothing between in fp32."""
    state = compiled(mod, samples)
    assert state.host == () and problems(state.mod, state.program) == []
    wanted, reference = run_llvm(mod, inputs), run_llvm(state.quantized, inputs)
    found = Session(state.executable).run(*inputs).outputs
    for at, least in enumerate(decibels):
        np.testing.assert_array_equal(found[at], reference[at])
        noise = np.square(wanted[at] - found[at]).sum() / np.square(wanted[at]).sum()
        assert noise == 0 or 10 * np.log10(1 / noise) > least, (at, noise)


def images(emit, x):
    """Return what moves, pads, joins and pools images."""
    part = emit(op.strided_slice(x, [2, 3], [0, 1], [8, 8], [2, 2]))
    padded = emit(op.nn.pad(part, [0, 0, 2, 1, 0, 0, 0, 0]))
    constant = emit(op.nn.pad(part, [0, 0, 0, 0, 1, 1, 0, 0], pad_value=0.75))
    joined = emit(op.concat([x, emit(op.negative(x))], 1))
    halves = emit(op.split(x, 2, 3))
    yield padded
    yield constant
    yield joined
    yield op.nn.avg_pool2d(x, (2, 2), (2, 2))
    yield op.nn.avg_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=False)
    yield op.nn.adaptive_avg_pool2d(x, (1, 1))
    yield op.nn.max_pool2d(joined, (2, 2), (2, 2))
    yield op.subtract(emit(relax.TupleGetItem(halves, 0)), emit(relax.TupleGetItem(halves, 1)))
    yield op.maximum(x, emit(op.multiply(x, relax.const(0.1))))
    yield op.clip(emit(op.subtract(relax.const(1.0), x)), -0.5, 0.75)
    yield op.sum(x, [1])


def test_images():
    inputs = {"x": ((2, 4, 8, 8), "float32")}
    samples = [(floats(2, 4, 8, 8),) for _ in range(4)]
    hold(module(inputs, images), samples, list(samples[1]), [36] * 11)


TABLE = floats(50, 24)


def words(emit, ids, mask):
    """Return what a sentence encoder has: embeddings, masks in three forms, gates."""
    x = emit(op.take(relax.const(TABLE), ids, 0, "fast"))
    scores = emit(op.matmul(x, emit(op.permute_dims(x, [0, 2, 1]))))
    keep = emit(op.not_equal(mask, relax.const(0, "int64")))
    places = np.arange(6)
    causal = emit(op.less_equal(relax.const(places[None]), relax.const(places[:, None])))
    both = emit(op.logical_and(emit(op.reshape(keep, (2, 1, 6))), causal))
    lowest = relax.const(np.float32(np.finfo(np.float32).min))
    added = emit(op.where(both, relax.const(0.0), lowest))
    yield op.nn.softmax(emit(op.add(scores, added)))
    yield op.nn.softmax(emit(op.where(both, scores, relax.const(-np.inf, "float32"))))
    away = emit(op.subtract(relax.const(1.0), emit(op.astype(mask, "float32"))))
    away = emit(op.reshape(emit(op.multiply(away, relax.const(-10000.0))), (2, 1, 6)))
    yield op.nn.softmax(emit(op.add(scores, away)))
    yield op.sigmoid(x)
    yield op.tanh(x)
    yield op.matmul(emit(op.nn.silu(x)), relax.const(floats(24, 8)))


def test_words():
    inputs = {"ids": ((2, 6), "int64"), "mask": ((2, 6), "int64")}
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
    samples = [(RNG.integers(0, 50, (2, 6)), mask) for _ in range(4)]
    hold(module(inputs, words), samples, list(samples[1]), [20, 20, 20, 30, 25, 22])


def test_a_batch_norm_behind_a_sum_and_a_value_far_beyond_the_samples():
    norm = [relax.const(np.abs(floats(4)) + 0.5) for _ in range(4)]

    def body(emit, x):
        total = emit(op.add(x, emit(op.nn.relu(x))))
        both = emit(op.nn.batch_norm(total, *norm, axis=1, training=False))
        yield relax.TupleGetItem(both, 0)

    mod = module({"x": ((1, 4, 3, 3), "float32")}, body)
    samples = [(floats(1, 4, 3, 3),) for _ in range(4)]
    hold(mod, samples, list(samples[1]), [36])
    # 8 bits are all that an input has: it saturates, and stays as large as the samples were.
    state = compiled(mod, samples)
    (far,) = Session(state.executable).run(1e6 * np.abs(samples[1][0])).outputs
    assert np.abs(far).max() < 100 and far.min() > -100


def test_channels_with_outliers_have_scales_of_their_own():
    weight, wide = floats(16, 8), np.where(np.arange(16) == 3, 100.0, 1.0).astype(np.float32)

    def body(emit, x):
        spread = emit(op.multiply(x, relax.const(wide)))
        yield op.matmul(spread, relax.const(weight / wide[:, None]))

    samples = [(floats(5, 16),) for _ in range(4)]
    hold(module({"x": ((5, 16), "float32")}, body), samples, list(samples[1]), [35])


def operators(*made):
    def body(emit, x):
        for each in made:
            yield each(emit, x)

    return module({"x": ((2, 3, 4, 4), "float32")}, body)


MESSAGES = {
    "divide": (
        lambda emit, x: op.divide(x, emit(op.nn.relu(x))),
        r"divide .*\(R.Tensor\(\(2, 3, 4, 4\).* has no integers: allowed: a constant divisor",
    ),
    "softmax": (
        lambda emit, x: op.nn.softmax(x, 1),
        r"nn.softmax .* has no integers: axis 1; allowed: the last",
    ),
    "pool": (
        lambda emit, x: op.nn.avg_pool2d(x, (3, 3), (2, 2), ceil_mode=True),
        r"nn.avg_pool2d .* allowed: windows that end inside of the padded image",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_name_the_operator_and_what_is_allowed(name):
    body, message = MESSAGES[name]
    with pytest.raises(UnsupportedError, match=message):
        compiled(operators(body), [(floats(2, 3, 4, 4),)])


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e6])
def test_samples_with_numbers_that_have_no_scale(number):
    mod = operators(lambda emit, x: op.nn.relu(x))
    sample = floats(2, 3, 4, 4)
    sample[0, 0, 0, 0] = number
    with pytest.raises(InputError, match=r"calibration samples: a number of (nan|inf|3e\+06)"):
        compiled(mod, [(sample,)])
