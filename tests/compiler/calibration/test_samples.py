"""compiler/calibration: forms of samples, and their mistakes."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from tvm import relax
from tvm.relax import op

import microscopiq as mq
from microscopiq.compiler.driver import run_stages
from microscopiq.compiler.options import Options
from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.target.errors import ConfigError, InputError
from tests.compiler import relax_modules as make
from tests.compiler.calibration.calibrated import gathered, log_model, positive, same

SHAPES = [(2, 5), (2, 3)]


@pytest.fixture(scope="module")
def two_inputs():
    """Inputs x0 of two rows of 5 and x1 of two rows of 3; a linear layer on both together."""

    def body(emit, x, y):
        return make.linear(emit, emit(op.concat([x, y], axis=1)), 4)

    return make.module(body, *SHAPES)


@pytest.fixture(scope="module")
def one_input():
    return log_model()


def test_forms_of_samples(two_inputs):
    x, y = positive(10, 5), positive(10, 3, seed=1)
    calls = [(x[i : i + 2], y[i : i + 2]) for i in range(0, 10, 2)]
    expected = gathered(two_inputs, calls)
    (((_, (one,))),) = expected.values()
    assert (one.rows, one.held_out_rows) == (8, 2)
    forms = {
        "generator of mappings": ({"x1": y, "x0": x} for x, y in calls),
        "lists": [list(call) for call in calls],
        "torch tensors": [tuple(map(torch.from_numpy, call)) for call in calls],
        "all rows in one": {"x0": x, "x1": y},
        "one more dimension": [(x.reshape(5, 2, 5), y.reshape(5, 2, 3))],
        "several calls in some": [(x[:4], y[:4]), *calls[2:]],
    }
    for name, samples in forms.items():
        assert same(expected, gathered(two_inputs, samples)), name


def test_data_free_recipes_give_the_same_program(one_input):
    steps = []
    options = Options("int8", "tiny-4x4", progress=lambda *step: steps.append(step))
    plain = run_stages(one_input, options)
    assert "calibrate" not in {step[0] for step in steps}
    steps.clear()
    samples = mq.Calibration(positive(6, 5), hessian_bytes=1)
    state = run_stages(one_input, dataclasses.replace(options, calibration=samples))
    assert state.program.to_bytes() == plain.program.to_bytes()
    errors = [row.held_out_error for row in state.layers.values() if row.weights]
    assert len(errors) == 2 and all(0 <= error < 1e-3 for error in errors)
    # Each group of layers is quantized before the next one is calibrated.
    order = [stage for stage, *_ in steps]
    assert order[:8] == [*["calibrate"] * 3, "quantize", *["calibrate"] * 3, "quantize"]
    assert [step[1:3] for step in steps if step[0] == "calibrate"] == [(i, 6) for i in range(1, 7)]


def test_build_takes_samples(one_input):
    executable = mq.build(one_input, "tiny-4x4", "int8", calibration=positive(2, 5))
    session = mq.Session(executable)
    plain = mq.Session(mq.build(one_input, "tiny-4x4", "int8"))
    (found,), (wanted,) = (each.run(positive(2, 5)).outputs for each in (session, plain))
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(InputError, match="there are none, at least one is needed"):
        mq.build(one_input, "tiny-4x4", "int8", calibration=[])


def test_a_generator_may_reuse_its_buffer(one_input):
    def stream():
        buffer = np.empty((2, 5), np.float32)
        for seed in range(4):
            buffer[...] = positive(2, 5, seed=seed)
            yield buffer

    listed = [positive(2, 5, seed=seed) for seed in range(4)]
    assert same(gathered(one_input, listed), gathered(one_input, stream(), hessian_bytes=1))


def test_samples_are_read_once_by_recipes_that_calibrate_twice(one_input):
    recipe = dataclasses.replace(load_recipe("int8"), migration=0.5)
    listed = [positive(2, 5, seed=seed) for seed in range(4)]
    steps = []
    options = Options(recipe, "tiny-4x4", progress=lambda *step: steps.append(step))
    wanted, found = (
        run_stages(one_input, dataclasses.replace(options, calibration=samples))
        for samples in (listed, iter(listed))
    )
    assert sum(step[0] == "calibrate" for step in steps) == 2 * 2 * 4
    assert wanted.program.to_bytes() == found.program.to_bytes()


MISTAKES = {
    "shape": (
        [(positive(2, 5), positive(2, 4))],
        "calibration sample 0, input 'x1': float32[2, 3] is needed, or several of them along the "
        "first dimension; given float32[2, 4]",
    ),
    "no multiple": (
        [(positive(2, 5), positive(2, 3)), (positive(3, 5), positive(2, 3))],
        "calibration sample 1, input 'x0': float32[2, 5] is needed, or several of them along the "
        "first dimension; given float32[3, 5]",
    ),
    "dtype": (
        {"x0": positive(2, 5).astype(np.float64), "x1": positive(2, 3)},
        "calibration sample 0, input 'x0': float32[2, 5] is needed, or several of them along the "
        "first dimension; given float64[2, 5]",
    ),
    "numbers of calls": (
        [(positive(4, 5), positive(2, 3))],
        "calibration sample 0: its arrays hold different numbers of calls (x0: 2, x1: 1)",
    ),
    "too few": (
        [positive(2, 5)],
        "calibration sample 0: holds 1 array(s); the model takes 2 (x0, x1)",
    ),
    "names": (
        [{"x0": positive(2, 5), "y": positive(2, 3)}],
        "calibration sample 0: has x0, y; the model's inputs are x0, x1",
    ),
    "no array": (
        [("x0", positive(2, 3))],
        "calibration sample 0, input 'x0': given str; allowed: numpy.ndarray, torch.Tensor, "
        "tvm.runtime.Tensor",
    ),
    "empty": ([], "calibration samples: there are none, at least one is needed"),
    "empty array": (
        {"x0": positive(0, 5), "x1": positive(0, 3)},
        "calibration sample 0, input 'x0': float32[2, 5] is needed, or several of them along the "
        "first dimension; given float32[0, 5]",
    ),
    "no iterable": (
        7,
        "calibration samples: given int; allowed: an iterable of arrays, mappings by input name, "
        "or tuples in the order of the inputs",
    ),
    "path": (
        "x.npz",
        "calibration samples: given str; allowed: an iterable of arrays, mappings by input name, "
        "or tuples in the order of the inputs",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_samples_that_dont_fit(two_inputs, name):
    samples, message = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        mq.quantize(two_inputs, "int8", samples)
    assert str(caught.value) == message


def test_activations_that_arent_finite(one_input):
    samples = [positive(2, 5), positive(2, 5)]
    samples[1][1, 3] = -1
    message = "calibration call 1: 1 of 10 inputs of layer 'linear0' aren't finite, all must be"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mq.quantize(one_input, "int8", samples)
    # The same process calibrates on.
    mq.quantize(one_input, "int8", samples[:1])

    def large(emit, x):
        return make.linear(emit, emit(op.exp(x)), 4)

    with pytest.raises(InputError, match=r"call 0: inputs of layer 'linear0' are too large.*e\+3"):
        mq.quantize(
            make.module(large, (2, 5)),
            "int8",
            np.linspace(0, 80, 10, dtype=np.float32).reshape(2, 5),
        )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"hessian_bytes": 0}, "hessian_bytes = 0: at least 1 is needed"),
        ({"held_out_every": 1}, "held_out_every = 1: 2 or more is needed, or 0 for none"),
    ],
)
def test_options_that_arent_allowed(option, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        mq.Calibration([], **option)


def test_functions_without_samples_have_no_statistics():
    builder = relax.BlockBuilder()
    make.add_function(builder, "main", lambda emit, x: make.linear(emit, x, 4), (2, 5))
    make.add_function(builder, "other", lambda emit, x: make.linear(emit, x, 6), (3, 5))
    found = gathered(builder.get(), [positive(2, 5)] * 2)
    unknown = {layer.weight.shape[0]: known is None for layer, known in found.values()}
    assert unknown == {4: False, 6: True}


def test_a_module_without_main():
    builder = relax.BlockBuilder()
    make.add_function(builder, "other", lambda emit, x: make.linear(emit, x, 6), (3, 5))
    with pytest.raises(InputError, match="runs the function 'main'; the module has only other"):
        mq.quantize(builder.get(), "int8", [positive(3, 5)])
