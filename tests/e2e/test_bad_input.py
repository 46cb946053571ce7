"""Bad models, options and files: the class of each error, and that its message helps."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import tvm
from onnx import TensorProto, helper, numpy_helper

import microscopiq as mq
from microscopiq import runtime
from microscopiq.target.arch import ARCH_DIR, load_arch


def small_model(op: str = "MatMul", domain: str = "", weight: np.ndarray | None = None):
    """Return an ONNX model of one node: ``y = op(x, fc.weight)`` for two rows of x."""
    weight = np.eye(8, dtype=np.float32) if weight is None else weight
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, weight.shape[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, weight.shape[1]])
    initializer = numpy_helper.from_array(weight, "fc.weight")
    node = helper.make_node(op, ["x", "fc.weight"], ["y"], domain=domain)
    graph = helper.make_graph([node], "graph", [x], [y], [initializer])
    opsets = [helper.make_opsetid("", 17)] + [helper.make_opsetid(domain, 1)] * bool(domain)
    return helper.make_model(graph, opset_imports=opsets)


@pytest.fixture(scope="module")
def executable():
    """Return `small_model`, built."""
    return mq.build(small_model())


@pytest.fixture
def tiny_toml(tmp_path):
    """Return a function that writes tiny-4x4.toml with replaced text and returns its path."""

    def write(**changes: str) -> Path:
        text = (ARCH_DIR / "tiny-4x4.toml").read_text()
        for key, line in changes.items():
            text, count = re.subn(rf"(?m)^{key} = .*$", line, text)
            assert count == 1
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


def raises(kind: type, *fragments: str):
    """Expect an error of exactly a class whose message has all fragments in this order."""
    pattern = "(?s)" + ".*".join(map(re.escape, fragments))
    return pytest.raises(kind, match=pattern)


# Models


@pytest.mark.parametrize(
    "content", [b"this is no model\n", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b""]
)
def test_file_that_is_no_onnx(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with raises(mq.InputError, str(path), "not an ONNX model"):
        mq.load_model(path)


def test_truncated_onnx(demo_folder, tmp_path):
    whole = (demo_folder / "digits_vit.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    # The last cuts fall around the opset version, which follows the graph.
    for keep in (1, 100, len(whole) // 4, len(whole) // 2, *range(len(whole) - 8, len(whole))):
        path.write_bytes(whole[:keep])
        with raises(mq.InputError, str(path), "not an ONNX model or a damaged one"):
            mq.load_model(path)


def test_onnx_without_its_external_data(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(small_model(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    with raises(mq.InputError, str(path), "fc.weight", "w.bin"):
        mq.load_model(path)


@pytest.mark.filterwarnings("ignore:No Op registered")
@pytest.mark.parametrize("domain", ["com.acme", ""])
def test_operator_that_tvm_cant_import(domain):
    with raises(mq.UnsupportedError, "1 node(s) can't be imported", "Wiggle (", "no converter"):
        mq.load_model(small_model("Wiggle", domain))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weight_that_is_not_finite(value):
    weight = np.eye(8, dtype=np.float32)
    weight[2, 3] = value
    # ONNX has (in, out), messages have (out, in).
    with raises(mq.InputError, "layer 'fc'", f"weight[3, 2] is {value}", "1 of 64 weights"):
        mq.build(small_model(weight=weight))


def test_bias_that_is_not_finite(capfd):
    linear = torch.nn.Linear(4, 3)
    with torch.no_grad():
        linear.bias[1] = float("nan")
    mod = mq.load_model(linear, (torch.zeros(2, 4),))
    with raises(mq.InputError, "bias[1] is nan", "1 of 3 biases are not finite"):
        mq.build(mod)
    assert "BlockBuilder" not in capfd.readouterr().err


def test_torch_file():
    with raises(mq.InputError, "model.pth", "execute code", "nn.Module", "ONNX"):
        mq.load_model("model.pth")


def test_missing_model(shell):
    with raises(mq.InputError, "model file not found: missing.onnx"):
        mq.load_model("missing.onnx")
    result = shell("compile", "missing.onnx", "--stop-after", "import")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: model file not found: missing.onnx\n"


def test_object_that_is_no_model():
    with raises(mq.InputError, "can't load a model from int", ".onnx", "nn.Module"):
        mq.load_model(3)


# Options


def test_unknown_recipe():
    with raises(mq.ConfigError, "unknown recipe 'microscopiq-w4a'; did you mean", "-w4a8"):
        mq.build(small_model(), recipe="microscopiq-w4a")


def test_unknown_arch():
    message = "unknown architecture 'microscopic-64'; did you mean microscopiq-64x64"
    with raises(mq.ConfigError, message, "tiny-4x4", ".toml"):
        mq.build(small_model(), arch="microscopic-64")


def test_arch_with_three_mistakes(tiny_toml, shell, demo_folder, tmp_path):
    path = tiny_toml(array_rows='array_rows = "four"', clock_mhz="", spad_bytes="spad_byte = 8192")
    # A misspelt key is an unknown one and a missing one.
    mistakes = (
        "unknown key 'spad_byte'; did you mean spad_bytes",
        "missing key 'clock_mhz'",
        "missing key 'spad_bytes'",
        "array_rows = 'four': an integer is needed",
    )
    with raises(mq.ConfigError, str(path), "4 mistake(s)", *mistakes):
        mq.build(small_model(), arch=path)
    result = shell(
        "compile", demo_folder / "digits_cnn.onnx", "-o", tmp_path / "out.so", "--arch", path
    )
    assert (result.code, result.out) == (2, "")
    assert all(mistake in result.err for mistake in mistakes)
    assert not (tmp_path / "out.so").exists()


def test_calibration(shell, demo_folder, tmp_path):
    with raises(mq.InputError, "sample 0, input 'x'", "float32[2, 8]", "given float32[3, 8]"):
        mq.quantize(small_model(), "int8", calibration={"x": np.zeros((3, 8), np.float32)})
    model, output = demo_folder / "digits_cnn.onnx", tmp_path / "out.so"
    result = shell("compile", model, "-o", output, "--calibration", tmp_path / "x.npz")
    assert (result.code, result.err) == (
        2,
        f"error: input file not found: {tmp_path / 'x.npz'}\n",
    )
    result = shell("compile", model, "-o", output, "--calibration-cache", tmp_path)
    assert (result.code, result.err) == (
        2,
        "error: --calibration-cache needs samples: --calibration X.npz\n",
    )
    quantized = mq.quantize(small_model(), "int8")
    with raises(mq.ConfigError, "already quantized", "give the samples to `quantize`"):
        mq.build(quantized, calibration={"x": np.zeros((2, 8), np.float32)})


def test_layer_that_fits_no_tile(tiny_toml):
    path = tiny_toml(acc_bytes="acc_bytes = 64", obuf_bytes="obuf_bytes = 64")
    # Two rows of 32 sums of 4 bytes; one tile needs no second slot.
    table = ("memory", "capacity", "spad", "acc", "64", "256", "obuf")
    with raises(mq.CapacityError, "layer 'fc': no tile", "tiny-4x4", *table):
        mq.build(small_model(weight=np.ones((8, 32), np.float32)), arch=path)
    path = tiny_toml(wbuf_bytes="wbuf_bytes = 64")
    # 128 x 128 weights of 4 bits are 8,192 bytes.
    weight = np.ones((128, 128), np.float32)
    table = ("memory", "slots", "bytes", "wbuf needs 8,", "tiny-4x4 has 64")
    with raises(mq.CapacityError, "fc", "doesn't fit tiny-4x4", *table):
        mq.build(small_model(weight=weight), arch=path)


def test_weight_format_that_the_arch_cant_decode():
    formats = ", ".join(load_arch("int8-64x64").weight_formats)
    with raises(mq.UnsupportedError, "int8-64x64 can't decode", "'ms4'", f"decodes: {formats})"):
        mq.build(small_model(), recipe="microscopiq-w4a8", arch="int8-64x64")


def test_a_model_of_which_nothing_runs_on_the_array_says_so_first(shell, tmp_path):
    onnx.save(small_model("Add", weight=np.ones((1, 1), np.float32)), tmp_path / "add.onnx")
    options = ("compile", tmp_path / "add.onnx", "--stop-after", "emit", "--no-vector")
    result = shell(*options)
    assert result.code == 0
    warning = "nothing of this model runs on the array: add: not a matrix product"
    assert result.out.startswith(f"Warning: {warning}")
    record = shell(*options, "--json")
    assert json.loads(record.out)["warning"].startswith(warning)
    assert record.err.startswith(f"warning: {warning}")
    onnx.save(small_model(), tmp_path / "fc.onnx")
    busy = shell("compile", tmp_path / "fc.onnx", "--stop-after", "quantize", "--json")
    assert (json.loads(busy.out)["warning"], busy.err) == (None, "")


# Inputs of a run


def test_inputs_that_dont_fit(executable):
    session, x = mq.Session(executable), np.zeros((2, 8), np.float32)
    expected = "main: input 'x' must be float32[2, 8]; given "
    for wrong, given in (
        (np.zeros((3, 8), np.float32), "float32[3, 8]"),
        (np.zeros(8, np.float32), "float32[8]"),
        (x.astype(np.float64), "float64[2, 8]"),
    ):
        with raises(mq.InputError, expected + given):
            session.run(wrong)
    with raises(mq.InputError, "main takes 1 input(s) (x); given 2"):
        session.run(x, x)
    with raises(mq.InputError, "main takes 1 input(s) (x); given 0"):
        session.run()
    with raises(mq.InputError, "input 'x': given NoneType; allowed: numpy.ndarray"):
        session.run(None)
    with raises(mq.InputError, "input 'x': numbers are needed"):
        session.run(np.array(["text"]))
    with raises(mq.InputError, "no function 'mian'"):
        session.run(x, function="mian")
    assert session.run(x).outputs[0].shape == (2, 8)


def test_npz_that_cant_be_used(library, images, shell, tmp_path):
    kinds = ("two", "pickled", "cut", "text", "batch", "names")
    files = {name: tmp_path / f"{name}.npz" for name in kinds}
    np.savez(files["two"], a=images, b=images)
    np.savez(files["pickled"], a=np.array([{}], dtype=object))
    np.savez(files["cut"], a=images)
    files["cut"].write_bytes(files["cut"].read_bytes()[:1000])
    files["text"].write_text("no arrays")
    np.savez(files["batch"], image=images[:2])
    np.savez(files["names"], img=images)
    files["missing"] = tmp_path / "missing.npz"
    messages = {
        "two": "holds 2 array(s) (a, b); the model takes 1 (image)",
        "pickled": "it holds Python objects",
        "cut": "not an .npz file of plain arrays",
        "text": "not an .npz file of plain arrays",
        "batch": "must be float32[60, 1, 8, 8]; given float32[2, 1, 8, 8]",
        "missing": "input file not found",
        "names": "its arrays are called img, the model's inputs image; numpy.savez(path, image=",
    }
    for name, message in messages.items():
        result = shell("run", library, "--input", files[name])
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("error: ")
        assert message in result.err, name
        assert "Traceback" not in result.err


# Programs and their files


def test_program_for_another_arch(library, images, shell, tmp_path):
    message = "the program was built for microscopiq-64x64"
    with raises(mq.ConfigError, message, "tiny-4x4", "was asked for"):
        mq.Session(library, arch="tiny-4x4")
    np.savez(tmp_path / "x.npz", images)
    result = shell("run", library, "--input", tmp_path / "x.npz", "--arch", "tiny-4x4")
    assert result.code == 2
    assert message in result.err


def test_corrupted_program(executable):
    blob = mq.Session(executable).program.to_bytes()
    create = tvm.get_global_func("microscopiq.runtime.create")
    create(blob)
    for position in (0, 9, 12, 30, len(blob) // 2, len(blob) - 1):
        damaged = bytearray(blob)
        damaged[position] ^= 1
        with raises(mq.IsaError, "program"):
            create(bytes(damaged))
    for part in (b"", blob[:10], blob[:-1], blob + b"\0"):
        with raises(mq.IsaError, "program"):
            create(part)


LOAD = """
from microscopiq.compiler.without_torch import import_tvm

import_tvm()
import sys
import microscopiq as mq
for path in sys.argv[1:]:
    try:
        mq.Session(path)
    except mq.MicroscopiqError as error:
        print(type(error).__name__, error)
    else:
        print("loaded", path)
"""


def test_damaged_library(library, tmp_path):
    """In a process of its own: the dynamic loader dies of SIGBUS on a file that was cut."""
    whole = library.read_bytes()
    paths = []
    for index, keep in enumerate((0, 10, 100, 5000, len(whole) // 2, len(whole) - 1)):
        paths.append(tmp_path / f"cut{index}.so")
        paths[-1].write_bytes(whole[:keep])
    flipped = bytearray(whole)
    flipped[whole.index(b"MSCOPIQ\0") + 1000] ^= 1
    paths.append(tmp_path / "flipped.so")
    paths[-1].write_bytes(flipped)
    command = [sys.executable, "-c", LOAD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    for line, path in zip(lines[:-1], paths, strict=False):
        assert line.startswith(f"InputError {path}: "), line
    assert lines[-1] == "IsaError corrupted program: the checksum doesn't match"


def test_objects_for_each_other(executable):
    with raises(mq.InputError, "given IRModule; allowed: what `build` returned", "`build` comp"):
        mq.Session(mq.load_model(small_model()))
    with raises(mq.InputError, "given dict; allowed: what `build` returned"):
        mq.disassemble({})
    with raises(mq.InputError, "given VMExecutable; allowed: the module that `quantize` returned"):
        mq.weight_report(executable)


def test_file_that_is_no_program(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("x")
    with raises(mq.InputError, str(path), "not an exported program", ".so"):
        mq.Session(path)
    with raises(mq.InputError, "program file not found: missing.so"):
        mq.Session("missing.so")
    other = runtime.load()  # a shared library, but not one with a model
    with raises(mq.InputError, str(other), "holds no compiled model"):
        mq.Session(other)
    with raises(mq.InputError, "no program"):
        mq.disassemble(other)


# Outputs


def test_export_without_a_compiler(executable, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with raises(mq.ConfigError, "needs a C++ compiler on PATH", "g++", "install one"):
        mq.export_library(executable, tmp_path / "out.so")
    assert list(tmp_path.iterdir()) == []


def test_export_that_fails_leaves_nothing(tmp_path):
    class Broken:
        def export_library(self, path):
            Path(path).write_text("half of it")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        mq.export_library(Broken(), tmp_path / "out.so")
    assert list(tmp_path.iterdir()) == []


def test_output_that_cant_be_written(executable, library, images, shell, demo_folder, tmp_path):
    (tmp_path / "file").write_text("")
    np.savez(tmp_path / "x.npz", images)
    model = demo_folder / "digits_cnn.onnx"
    for folder in (tmp_path / "missing", tmp_path / "file"):
        with raises(mq.ConfigError, f"'{folder}/out.so'", "no folder that can be written"):
            mq.export_library(executable, folder / "out.so")
        result = shell("compile", model, "-o", folder / "out.so")
        assert result.code == 2
        assert "no folder that can be written" in result.err
        output = folder / "y.npz"
        result = shell("run", library, "--input", tmp_path / "x.npz", "-o", output)
        assert (result.code, result.out) == (2, "")
        assert f"output file '{output}': no folder that can be written" in result.err
    with raises(mq.ConfigError, "out.bin", "must end in .so or .tar"):
        mq.export_library(executable, tmp_path / "out.bin")
    inside = tmp_path / "file" / "dump"
    result = shell("compile", model, "--stop-after", "import", "--dump-dir", inside)
    assert result.code == 2
    assert f"can't make the folder '{inside}'" in result.err


def test_full_disk_under_an_output(library, images, shell, tmp_path):
    np.savez(tmp_path / "x.npz", images)
    run = ("run", library, "--input", tmp_path / "x.npz")
    for option in ("-o", "--csv", "--trace"):
        result = shell(*run, option, "/dev/full")
        assert (result.code, result.out) == (2, "")
        assert result.err == "error: can't write '/dev/full': No space left on device\n"
    assert not Path("/dev/full").is_file()  # nothing took its place


def test_linker_without_space(tmp_path):
    class Full:
        def export_library(self, path):
            Path(path).write_text("half of it")
            raise RuntimeError("ld: final link failed: No space left on device")

    with raises(mq.ConfigError, f"can't write '{tmp_path}/out.so': No space left on device"):
        mq.export_library(Full(), tmp_path / "out.so")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_in_a_folder_without_permission(executable, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with raises(mq.ConfigError, "no folder that can be written"):
        mq.export_library(executable, folder / "out.so")
