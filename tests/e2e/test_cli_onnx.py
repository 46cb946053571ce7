"""What the command line says about ONNX models: sizes, constants, the check, the dump."""

import json

import numpy as np
import onnx
import onnx.helper as oh
import pytest

from tests.compiler.frontend.onnx_models import model, value


@pytest.fixture
def path(tmp_path):
    """Return a file of y = relu(x of any length) * k, where ONNX Runtime can run it."""
    nodes = [
        oh.make_node("Shape", ["x"], ["shape"]),
        oh.make_node("Reshape", ["x", "shape"], ["same"]),
        oh.make_node("Relu", ["same"], ["h"]),
        oh.make_node("Mul", ["h", "k"], ["y"]),
    ]
    inputs = [value("x", ["N", "length"]), value("k", [])]
    path = tmp_path / "model.onnx"
    onnx.save(model(nodes, inputs, [value("y", None)]), path)
    return path


def test_sizes_and_constants(shell, path, tmp_path):
    command = ("compile", path, "--stop-after", "import")
    result = shell(*command)
    assert (result.code, result.out) == (2, "")
    assert "x [N, length]" in result.err and "--input-shape x=N,M" in result.err
    given = ("--input-shape", "x=2,5", "--input-value", "k=0.5")
    result = shell(*command, *given, "--check", "--dump-dir", tmp_path / "dump")
    assert (result.code, result.err) == (0, "")
    assert "The imported module computes what ONNX Runtime does" in result.out
    dump = (tmp_path / "dump" / "00_onnx.txt").read_text()
    assert "== sizes: 4 nodes, then 4 nodes\n- input x[N, length]\n- input k[]\n" in dump
    assert "+ constant k[] [0.5]\n" in dump and "- shape = Shape(x)\n" in dump


def test_a_batch_that_is_taken_as_one(shell, path):
    result = shell("compile", path, "--stop-after", "import", "--input-shape", "x=1,3")
    assert result.code == 0
    of = onnx.load(path)
    of.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    onnx.save(of, path)
    result = shell("compile", path, "--stop-after", "import")
    assert result.code == 0
    assert "the batch (N) has no size in the model and is taken as 1; --input-shape x=N,3" in (
        result.err + result.out
    )


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--input-shape", "x", ["--input-shape 'x': the form is NAME=1,3,224,224"]),
        ("--input-shape", "x=1,two", ["'x=1,two': the form is"]),
        ("--input-value", "k=high", ["--input-value 'k=high': the form is NAME=16000"]),
        ("--input-shape", "z=1", ["unknown input 'z'", "k, x"]),
    ],
)
def test_options_in_another_form(shell, path, option, text, words):
    result = shell("compile", path, "--stop-after", "import", option, text)
    assert (result.code, result.out) == (2, "")
    assert all(word in result.err for word in words), result.err


def test_the_check_finds_a_wrong_import(shell, path, monkeypatch):
    from tvm import relax

    from microscopiq.compiler.frontend.onnx.converters import CONVERTERS

    monkeypatch.setitem(CONVERTERS, "Relu", lambda _bb, inputs, *_: relax.op.abs(inputs[0]))
    given = ("--input-shape", "x=2,5", "--stop-after", "import")
    assert shell("compile", path, *given).code == 0
    result = shell("compile", path, *given, "--check")
    assert result.code == 2 and "isn't what ONNX Runtime computes (output 0: " in result.err


def test_nothing_on_the_array_comes_first(shell, path):
    given = ("--input-shape", "x=2,5", "--stop-after", "quantize")
    lines = shell("compile", path, *given).out.splitlines()
    assert lines[0].startswith("Warning: nothing of this model runs on the array: ")


def test_arrays_go_to_inputs_by_name(shell, path, tmp_path):
    """Two inputs of one shape, in the other order: by position they would be exchanged."""
    nodes = [oh.make_node("Sub", ["a", "b.1"], ["y"])]
    ends = [value("a", [2]), value("b.1", [2])]
    onnx.save(model(nodes, ends, [value("y", None)]), path)
    assert shell("compile", path, "-o", tmp_path / "m.tar").code == 0
    b, a = np.float32([1, 2]), np.float32([10, 20])
    np.savez(tmp_path / "x.npz", **{"b.1": b, "a": a})
    run = ("run", tmp_path / "m.tar", "--input", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    result = shell(*run)
    assert (result.code, result.err) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], a - b)
    np.savez(tmp_path / "x.npz", a=a, b=b)
    result = shell(*run)
    assert result.code == 2
    assert "its arrays are called a, b, the model's inputs a, b.1" in result.err


def test_sizes_that_stay_open(shell, path, tmp_path):
    """One library for all sizes up to the bounds, and what it says of them."""
    library = tmp_path / "open.so"
    bounds = ("--max-size", "N=3", "--max-size", "length=6", "--input-value", "k=0.5")
    made = shell("compile", path, *bounds, "-o", library, "--recipe", "int8", "--check", "--json")
    assert made.code == 0, made.err
    record = json.loads(made.out)
    assert record["sizes"] == {"N": [1, 3], "length": [1, 6]}
    assert record["host"] == []
    lines = [line.split() for line in shell("inspect", library).out.splitlines()]
    assert ["N", "1", "3", "dimension", "0", "of", "'x'"] in lines
    assert ["length", "1", "6", "dimension", "1", "of", "'x'"] in lines
    given, taken = tmp_path / "x.npz", tmp_path / "y.npz"
    for shape in ((1, 1), (2, 5), (3, 6)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        np.savez(given, x=x)
        assert shell("run", library, "--input", given, "-o", taken).code == 0
        np.testing.assert_array_equal(np.load(taken)["y"], np.maximum(x, 0) * np.float32(0.5))
    np.savez(given, x=np.zeros((2, 7), np.float32))
    wrong = shell("run", library, "--input", given)
    assert wrong.code == 2
    assert "input 'x', dimension 1 ('length'): 7; allowed: 1 to 6" in wrong.err


@pytest.mark.parametrize("text", ["N", "N=", "N=0", "N=x", "N=3,4", "=3"])
def test_a_bound_that_is_no_number(shell, path, text):
    wrong = shell("compile", path, "--max-size", text, "--stop-after", "import")
    assert wrong.code == 2 and "--max-size" in wrong.err and "the form is " in wrong.err
