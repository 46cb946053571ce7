"""The installed package: what TVM finds of it, and what its wheel holds."""

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from microscopiq.runtime import load
from microscopiq.target.arch import DEFAULT_ARCH

ROOT = Path(__file__).parents[1]


def fresh(script: str) -> str:
    """Return what a new interpreter prints, warnings of users' code being errors."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_entry_point_is_registered():
    (found,) = (e for e in entry_points(group="tvm.backends") if e.name == "microscopiq")
    assert found.value == "microscopiq.compiler.backend:autoload"


def test_import_tvm_is_enough():
    # A backend that fails to load is a UserWarning of TVM, here an error.
    printed = fresh(
        "import tvm\n"
        "print(tvm.target.Target('microscopiq').attrs['model'])\n"
        "print(tvm.target.Target({'tag': 'microscopiq', 'model': 'int8-64x64'}).attrs['model'])\n"
        "for name in ('create', 'kernels', 'select_kernels'):\n"
        "    tvm.get_global_func('microscopiq.runtime.' + name)\n"
        "tvm.get_global_func('ffi.Module.load_from_bytes.microscopiq')\n"
    )
    assert printed.split() == [DEFAULT_ARCH, "int8-64x64"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["microscopiq", "microscopiq.compiler.api", "microscopiq.compiler.partition.partition"]
)
def test_the_backend_loads_whatever_is_imported_first(first):
    without_torch = "import sys; sys.modules['torch'] = None"  # TVM takes 3 s to import it
    kind = "print(tvm.target.Target('microscopiq').kind.name)"
    printed = fresh(f"{without_torch}; import {first}, tvm; {kind}")
    assert printed.strip() == "ext_dev"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Return the names in a wheel built from this tree."""
    pytest.importorskip("scikit_build_core", reason="building a wheel here needs scikit-build-core")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command += [f"--config-settings=build-dir={folder}/build", "--wheel-dir", str(folder)]
    # The install that runs these tests has compiled it; what else is in a wheel counts here.
    command.append(f"--config-settings=cmake.define.MICROSCOPIQ_LIBRARY={load()}")
    command.append(str(ROOT))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_slow_the_wheel_has_all_that_runs(wheel):
    missing = [
        f"microscopiq/{file.relative_to(ROOT)}"
        for layer in ("target", "runtime", "compiler")
        for file in (ROOT / layer).rglob("*")
        if file.suffix in (".py", ".toml", ".onnx")
    ]
    missing = [name for name in missing if name not in wheel]
    assert not missing
    assert {"microscopiq/__init__.py", "microscopiq/py.typed"} <= {*wheel}
    assert "microscopiq/runtime/libmicroscopiq_runtime.so" in wheel


@pytest.mark.slow
def test_slow_the_wheel_has_nothing_that_only_builds_or_tests(wheel):
    top = {name.split("/")[0] for name in wheel}
    assert top == {"microscopiq", next(name for name in top if name.endswith(".dist-info"))}
    odd = [name for name in wheel if name.endswith((".cc", ".h", ".o", ".pyc")) or "/src/" in name]
    assert not odd
