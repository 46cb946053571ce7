"""compiler/calibration/cache.py: statistics on disk, and files that can't be used."""

import numpy as np
import pytest
from tvm.relax import op

from microscopiq.compiler.calibration import collect as collecting
from microscopiq.target.errors import ConfigError
from tests.compiler import relax_modules as make
from tests.compiler.calibration.calibrated import Found, gathered, log_model, positive, same


@pytest.fixture(scope="module")
def one_input():
    return log_model()


def calls_of(source, samples, folder, **options) -> tuple[Found, int]:
    """Return statistics, and how often the model was called for them."""
    steps: list[tuple] = []
    found = gathered(
        source, samples, steps=lambda *step: steps.append(step), cache_dir=folder, **options
    )
    return found, len(steps)


def test_cache_saves_the_calls(one_input, tmp_path):
    samples = [positive(2, 5, seed=seed) for seed in range(3)]
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
    calls_of(one_input, [positive(2, 5)], tmp_path)

    def refuse(*_):
        raise AssertionError("the model was built")

    monkeypatch.setattr(collecting, "runner", refuse)
    calls_of(one_input, [positive(2, 5)], tmp_path)
    with pytest.raises(AssertionError, match="the model was built"):
        calls_of(one_input, [positive(2, 5, seed=1)], tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"moments.npy") + 160] ^= 1
    path.write_bytes(content)


def foreign(path):
    with path.open("wb") as file:
        np.savez(file, key=np.array("x"), moments=np.zeros(3))


def text(path):
    path.write_text("statistics")


def pickled(path):
    with path.open("wb") as file:
        np.savez(file, key=np.array([{"a": 1}], dtype=object), allow_pickle=True)


def infinite(path):
    with np.load(path) as file:
        arrays = dict(file)
    arrays["moments"][0, 0, 0] = np.inf
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("damage", [cut, flip, foreign, text, pickled, infinite])
def test_damaged_files_are_made_anew(one_input, tmp_path, damage):
    samples = [positive(2, 5, seed=seed) for seed in range(3)]
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
        calls_of(one_input, [positive(2, 5)], tmp_path / "file")
