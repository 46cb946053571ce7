"""An exported model in a process that imports nothing but TVM gives the bits of this process."""

import importlib.metadata
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tvm
from tvm import relax

from microscopiq import Session
from microscopiq.compiler.api import build, export_library
from microscopiq.target.errors import ConfigError
from tests.compiler import relax_modules as make

RUN = """
import sys
import numpy as np
import tvm

inputs = [np.load(f"x{i}.npy") for i in range(2)]
for library in sys.argv[1:]:
    vm = tvm.relax.VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
    outputs = vm["main"](*map(tvm.runtime.tensor, inputs))
    for i, output in enumerate(outputs):
        np.save(f"{library}.{i}.npy", output.numpy())
print(sorted(name for name in sys.modules if name.startswith("microscopiq.")))
"""


def two_inputs(emit, x, y):
    return make.mlp(emit, x), make.conv(emit, y, 6, padding=1)


@pytest.fixture(scope="module")
def model():
    """Return an executable, its inputs and its result."""
    mod = make.module(two_inputs, (2, 3, 10), make.IMAGE)
    executable, inputs = build(mod, arch="tiny-4x4"), make.inputs_of(mod)
    return executable, inputs, Session(executable).run(*inputs)


def python(code, *arguments, folder):
    """Run code in a fresh interpreter, in a folder that has no sources."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_library_runs_with_only_tvm(model, tmp_path):
    executable, inputs, expected = model
    libraries = ["model.so", "model.tar"]
    for library in libraries:
        export_library(executable, tmp_path / library)
    assert sorted(path.name for path in tmp_path.iterdir()) == libraries
    for i, value in enumerate(inputs):
        np.save(tmp_path / f"x{i}.npy", value)
    loaded = python(RUN, *(f"./{library}" for library in libraries), folder=tmp_path)
    for library in libraries:
        found = [np.load(tmp_path / f"{library}.{i}.npy") for i in range(len(expected.outputs))]
        make.assert_equal_bits(expected.outputs, found)
    # The core came by the entry point; running needs none of the compiler's passes.
    assert "microscopiq.runtime" in loaded
    assert "microscopiq.compiler.driver" not in loaded


def test_session_of_a_file_equals_one_of_the_executable(model, tmp_path):
    executable, inputs, expected = model
    library = tmp_path / "model.so"
    executable.export_library(str(library))
    session = Session(library, arch="tiny-4x4")
    found = session.run(*inputs)
    make.assert_equal_bits(expected.outputs, found.outputs)
    assert found.to_json() == expected.to_json()
    assert session.program == Session(executable).program
    with pytest.raises(ConfigError, match="built for tiny-4x4"):
        Session(library, arch="int8-64x64")


@pytest.mark.slow
def test_entry_point_is_alive(tmp_path):
    (entry,) = (
        e for e in importlib.metadata.entry_points(group="tvm.backends") if e.name == "microscopiq"
    )
    assert callable(entry.load())
    code = """
        import microscopiq as mq
        assert mq.Session and mq.build  # whichever is imported first
        import tvm
        target = tvm.target.Target("microscopiq")
        assert target.kind.name == "ext_dev" and "microscopiq" in target.keys
        assert tvm.get_global_func("microscopiq.runtime.create")
        print(target.host.kind.name)
    """
    assert python(code, folder=tmp_path).strip() == "llvm"


def test_default_optimization_gives_the_same_bits(model):
    """Other tests build their reference without optimization."""
    mod = make.compiled(make.model("chain")).quantized
    inputs = make.inputs_of(mod)
    optimized = make.run_llvm(mod, inputs, target="llvm")
    make.assert_equal_bits(optimized, make.run_llvm(mod, inputs))
    vm = relax.VirtualMachine(model[0], tvm.cpu())
    outputs = vm["main"](*map(tvm.runtime.tensor, model[1]))
    make.assert_equal_bits(model[2].outputs, make.arrays(outputs))
