"""The floors of the tree: a folder imports only from the floors below it, and never in a circle."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = "microscopiq.__version__"
LAYERS = ("target", "runtime", "compiler")
FLOORS = (
    ("target",),
    ("target/isa",),
    ("runtime/__init__", "runtime/whole_file", "runtime/bytecode", "runtime/arguments",
     "runtime/budget", "runtime/state", "runtime/outputs", "runtime/sizes", "runtime/host_costs"),
    ("runtime/reference", "runtime/results"),
    ("runtime/reports", "runtime/host_clock"),
    ("runtime/session",),
    ("compiler/__init__", "compiler/names", "compiler/symbolic", "compiler/files",
     "compiler/without_torch"),
    ("compiler/workers",),
    ("compiler/operators", "compiler/sizes"),
    ("compiler/llvm",),
    ("compiler/quant",),
    ("compiler/options", "compiler/tiling"),
    ("compiler/tir",),
    ("compiler/emit",),
    ("compiler/kinds", "compiler/link"),
    ("compiler/partition",),
    ("compiler/passes/migration", "compiler/passes/products"),
    ("compiler/passes",),
    ("compiler/frontend", "compiler/calibration", "compiler/estimate", "compiler/tuned",
     "compiler/host", "compiler/weight_report", "compiler/memory_plan"),
    ("compiler/driver",),
    ("compiler/api", "compiler/backend", "compiler/onnx_backend", "compiler/verify",
     "compiler/demo", "compiler/tune"),
    ("compiler/study", "compiler/docs"),
    ("compiler/cli",),
)  # fmt: skip
"""From the lowest on: folders, and modules beside them. Those of one floor are strangers."""
CORE_FLOORS = (
    ("errors", "isa"),
    ("stats", "guard", "kernels"),
    ("weights",),
    ("program",),
    ("memory",),
    ("recon",),
    ("timing", "structural"),
    ("machine",),
    ("simulator",),
    ("module", "counter"),
)
"""The same of runtime/src."""
PURE = ("names", "symbolic", "sizes", "operators", "quant", "tiling", "tir", "emit", "kinds",
        "link", "partition", "passes")  # fmt: skip
"""What of the compiler makes a program and never runs one."""
HEAVY = {
    "target": {"tvm", "tvm_ffi", "torch", "onnx"},
    "runtime": {"torch", "onnx"},
    "compiler": {"torch"},
}
"""What a layer's modules must not import while they are imported themselves."""
NOT_THE_PRODUCT = ("benchmarks/demo/models.py", "benchmarks/demo/train.py")
"""They made the demo's models; nothing imports them."""


def sources(layer: str) -> list[Path]:
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files, layer
    return files


def imported(file: Path, tree: ast.AST) -> list[tuple[str, int]]:
    """Return the absolute names that a syntax tree imports, with their lines."""
    package = ["microscopiq", *file.relative_to(ROOT).parent.parts]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def while_importing(tree: ast.Module) -> ast.Module:
    """Return the part of a module that runs at its import: all but the bodies of functions."""

    class DropFunctions(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return ast.Pass()

    return DropFunctions().visit(tree)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_starts_without_what_is_heavy_above_it(layer):
    for file in sources(layer):
        for name, line in imported(file, while_importing(ast.parse(file.read_text()))):
            assert name.split(".")[0] not in HEAVY[layer], f"{file}:{line} imports {name}"


def floor_of(path: str) -> int:
    """Return the number of the floor of a file (without its suffix) of the package."""
    parts = path.split("/")
    for length in range(len(parts), 0, -1):
        for number, floor in enumerate(FLOORS):
            if "/".join(parts[:length]) in floor:
                return number
    raise AssertionError(f"{path} is on no floor: give it a place in FLOORS")


def home_of(path: str) -> str:
    """Return the entry of FLOORS that holds a file."""
    return next(
        name for name in sorted(FLOORS[floor_of(path)], key=len, reverse=True)
        if path == name or path.startswith(name + "/")
    )  # fmt: skip


def imported_files(file: Path) -> list[tuple[str, int]]:
    """Return the files of the package that a file imports, without suffix, with the lines."""
    found = []
    for name, line in imported(file, ast.parse(file.read_text())):
        parts = name.split(".")
        if parts[0] != "microscopiq" or name == VERSION:
            continue
        while len(parts) > 2 and not (
            (ROOT / "/".join(parts[1:])).is_dir()
            or (ROOT / "/".join(parts[1:])).with_suffix(".py").exists()
        ):
            parts.pop()
        path = "/".join(parts[1:])
        found.append((f"{path}/__init__" if (ROOT / path).is_dir() else path, line))
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_a_folder_imports_only_itself_and_lower_floors(layer):
    for file in sources(layer):
        path = str(file.relative_to(ROOT).with_suffix(""))
        here, home = floor_of(path), home_of(path)
        for other, line in imported_files(file):
            assert home_of(other) == home or floor_of(other) < here, f"{file}:{line}: {other}"


def test_a_folder_of_the_core_includes_only_itself_and_lower_floors():
    source = ROOT / "runtime" / "src"
    floors = {name: number for number, floor in enumerate(CORE_FLOORS) for name in floor}
    files = [file for file in source.rglob("*") if file.suffix in (".cc", ".h")]
    assert len(files) > 50
    for file in files:
        home = file.relative_to(source).parts[0].split(".")[0]
        for name in re.findall(r'#include "([^"]+)"', file.read_text()):
            other = name.split("/")[0].split(".")[0]
            assert other == home or floors[other] < floors[home], f"{file} includes {name}"


def test_the_architecture_page_has_a_sentence_for_each_folder():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = [name for floor in FLOORS for name in floor if (ROOT / name).is_dir()]
    core = [
        name for floor in CORE_FLOORS for name in floor if (ROOT / "runtime/src" / name).is_dir()
    ]
    assert len(folders) > 20 and len(core) == 8
    for name in folders + core:
        assert f"| `{name}`" in page, name


def test_what_makes_a_program_never_touches_the_runtime():
    for file in sources("compiler"):
        if file.relative_to(ROOT / "compiler").with_suffix("").parts[0] not in PURE:
            continue
        for name, line in imported(file, ast.parse(file.read_text())):
            assert not name.startswith("microscopiq.runtime"), f"{file}:{line} imports {name}"


def test_the_target_layer_loads_no_compiler():
    modules = [file.relative_to(ROOT).with_suffix("").parts for file in sources("target")]
    names = [".".join(["microscopiq", *parts]).removesuffix(".__init__") for parts in modules]
    script = f"import sys, {', '.join(names)}; print(sorted({{'tvm', 'torch'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_package_starts_where_torch_is_not_installed():
    # tvm_ffi imports torch whenever it is there, so its absence has to be acted.
    script = "import sys; sys.modules['torch'] = None; import microscopiq.compiler.api; import tvm"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nothing_but_tvm_itself_imports_torch():
    script = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            frame = sys._getframe(1)
            while "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            assert "tvm_ffi" in frame.f_code.co_filename, frame.f_code.co_filename
sys.meta_path.insert(0, Watch())
import microscopiq.compiler.api, microscopiq.compiler.frontend.onnx.load
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_benchmarks_and_tutorials_import_is_there():
    """Nothing runs them in every test run, so a move would leave them behind."""
    files = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tutorials").glob("*.py")]
    assert len(files) > 20
    for file in files:
        for name, line in imported(file, ast.parse(file.read_text(encoding="utf-8"))):
            parts = name.split(".")[1:-1]
            if name.startswith("microscopiq.") and parts:
                path = ROOT.joinpath(*parts)
                found = path.is_dir() or path.with_suffix(".py").exists()
                assert found, f"{file}:{line} imports {name}"
