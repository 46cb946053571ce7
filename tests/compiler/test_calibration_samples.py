"""compiler/calibration: forms of samples, their mistakes, and statistics on disk."""

import re

import numpy as np
import pytest
import torch
from tvm import relax
from tvm.relax import op

import microscopiq as mq
from microscopiq.compiler.calibration import collect as collecting
from microscopiq.target.errors import ConfigError, InputError
from tests.compiler import relax_modules as make
from tests.compiler.calibrated import Found, gathered, same

SHAPES = [(2, 5), (2, 3)]


@pytest.fixture(scope="module")
def two_inputs():
    """Inputs x0 of two rows of 5 and x1 of two rows of 3; a linear layer on both together."""

    def body(emit, x, y):
        return make.linear(emit, emit(op.concat([x, y], axis=1)), 4)

    return make.module(body, *SHAPES)


@pytest.fixture(scope="module")
def one_input():
    """Input x0 of two rows of 5; a linear layer on log(x0), another one on its result."""

    def body(emit, x):
        return make.linear(emit, emit(op.tanh(make.linear(emit, emit(op.log(x)), 4))), 3, seed=1)

    return make.module(body, (2, 5))


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32) + 0.5


def test_forms_of_samples(two_inputs):
    x, y = numbers(10, 5), numbers(10, 3, seed=1)
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


def test_a_generator_may_reuse_its_buffer(one_input):
    def stream():
        buffer = np.empty((2, 5), np.float32)
        for seed in range(4):
            buffer[...] = numbers(2, 5, seed=seed)
            yield buffer

    listed = [numbers(2, 5, seed=seed) for seed in range(4)]
    assert same(gathered(one_input, listed), gathered(one_input, stream(), hessian_bytes=1))


MISTAKES = {
    "shape": (
        [(numbers(2, 5), numbers(2, 4))],
        "calibration sample 0, input 'x1': float32[2, 3] is needed, or several of them along the "
        "first dimension; given float32[2, 4]",
    ),
    "no multiple": (
        [(numbers(2, 5), numbers(2, 3)), (numbers(3, 5), numbers(2, 3))],
        "calibration sample 1, input 'x0': float32[2, 5] is needed, or several of them along the "
        "first dimension; given float32[3, 5]",
    ),
    "dtype": (
        {"x0": numbers(2, 5).astype(np.float64), "x1": numbers(2, 3)},
        "calibration sample 0, input 'x0': float32[2, 5] is needed, or several of them along the "
        "first dimension; given float64[2, 5]",
    ),
    "numbers of calls": (
        [(numbers(4, 5), numbers(2, 3))],
        "calibration sample 0: its arrays hold different numbers of calls (x0: 2, x1: 1)",
    ),
    "too few": (
        [numbers(2, 5)],
        "calibration sample 0: holds 1 array(s); the model takes 2 (x0, x1)",
    ),
    "names": (
        [{"x0": numbers(2, 5), "y": numbers(2, 3)}],
        "calibration sample 0: has x0, y; the model's inputs are x0, x1",
    ),
    "no array": (
        [("x0", numbers(2, 3))],
        "calibration sample 0, input 'x0': given str; allowed: numpy.ndarray, torch.Tensor, "
        "tvm.runtime.Tensor",
    ),
    "empty": ([], "calibration samples: there are none, at least one is needed"),
    "empty array": (
        {"x0": numbers(0, 5), "x1": numbers(0, 3)},
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
    samples = [numbers(2, 5), numbers(2, 5)]
    samples[1][1, 3] = -1
    message = "calibration call 1: 1 of 10 inputs of layer 'linear0' aren't finite, all must be"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mq.quantize(one_input, "int8", samples)
    # The same process calibrates on.
    mq.quantize(one_input, "int8", samples[:1])

    def large(emit, x):
        return make.linear(emit, emit(op.exp(x)), 4)

    with pytest.raises(InputError, match=r"call 0: inputs of layer 'linear0' are too large.*e\+3"):
        mq.quantize(make.module(large, (2, 5)), "int8", np.full((2, 5), 80, np.float32))


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
    found = gathered(builder.get(), [numbers(2, 5)] * 2)
    unknown = {layer.weight.shape[0]: known is None for layer, known in found.values()}
    assert unknown == {4: False, 6: True}


def test_a_module_without_main():
    builder = relax.BlockBuilder()
    make.add_function(builder, "other", lambda emit, x: make.linear(emit, x, 6), (3, 5))
    with pytest.raises(InputError, match="runs the function 'main'; the module has only other"):
        mq.quantize(builder.get(), "int8", [numbers(3, 5)])


def calls_of(source, samples, folder, **options) -> tuple[Found, int]:
    """Return statistics, and how often the model was called for them."""
    steps: list[tuple] = []
    found = gathered(
        source, samples, steps=lambda *step: steps.append(step), cache_dir=folder, **options
    )
    return found, len(steps)


def test_cache_saves_the_calls(one_input, tmp_path):
    samples = [numbers(2, 5, seed=seed) for seed in range(3)]
    folder = tmp_path / "made" / "here"
    first, calls = calls_of(one_input, samples, folder)
    assert calls == 3
    assert len(list(folder.iterdir())) == 2
    again, calls = calls_of(one_input, samples, folder, hessian_bytes=1)
    assert calls == 0 and same(first, again)
    # Other samples, another share of them, other weights.
    _, calls = calls_of(one_input, samples[:2], folder)
    assert calls == 2
    _, calls = calls_of(one_input, samples, folder, held_out_every=2)
    assert calls == 3

    def other(emit, x):
        y = emit(op.tanh(make.linear(emit, emit(op.log(x)), 4, seed=2)))
        return make.linear(emit, y, 3, seed=1)

    _, calls = calls_of(make.module(other, (2, 5)), samples, folder)
    assert calls == 3
    assert not list(folder.glob("*.part"))


def test_cache_needs_no_build(one_input, tmp_path, monkeypatch):
    calls_of(one_input, [numbers(2, 5)], tmp_path)

    def refuse(*_):
        raise AssertionError("the model was built")

    monkeypatch.setattr(collecting, "runner", refuse)
    calls_of(one_input, [numbers(2, 5)], tmp_path)
    with pytest.raises(AssertionError, match="the model was built"):
        calls_of(one_input, [numbers(2, 5, seed=1)], tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"hessian.npy") + 160] ^= 1
    path.write_bytes(content)


def foreign(path):
    with path.open("wb") as file:
        np.savez(file, key=np.array("x"), hessian=np.zeros(3))


def text(path):
    path.write_text("statistics")


def pickled(path):
    with path.open("wb") as file:
        np.savez(file, key=np.array([{"a": 1}], dtype=object), allow_pickle=True)


def infinite(path):
    with np.load(path) as file:
        arrays = dict(file)
    arrays["hessian"][0, 0, 0] = np.inf
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("damage", [cut, flip, foreign, text, pickled, infinite])
def test_damaged_files_are_made_anew(one_input, tmp_path, damage):
    samples = [numbers(2, 5, seed=seed) for seed in range(3)]
    first, _ = calls_of(one_input, samples, tmp_path)
    path = sorted(tmp_path.iterdir())[1]
    whole = path.read_bytes()
    damage(path)
    with pytest.warns(UserWarning, match=f"{path.name}: calibrating anew, the file is unusable: "):
        again, calls = calls_of(one_input, samples, tmp_path)
    assert calls == 3 and same(first, again)
    assert path.read_bytes()[-100:] == whole[-100:]
    assert calls_of(one_input, samples, tmp_path)[1] == 0


def test_a_cache_that_cant_be_written(one_input, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can't make the folder '.*file' for calibration"):
        calls_of(one_input, [numbers(2, 5)], tmp_path / "file")
