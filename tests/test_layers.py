"""The layers: target < runtime < compiler; an import in the other direction is a bug."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = "microscopiq.__version__"
LAYERS = ("target", "runtime", "compiler")
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
def test_a_layer_imports_only_itself_and_lower_ones(layer):
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for file in sources(layer):
        for name, line in imported(file, ast.parse(file.read_text())):
            parts = name.split(".")
            if parts[0] == "microscopiq" and name != VERSION:
                assert len(parts) > 1 and parts[1] in allowed, f"{file}:{line} imports {name}"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_starts_without_what_is_heavy_above_it(layer):
    for file in sources(layer):
        for name, line in imported(file, while_importing(ast.parse(file.read_text()))):
            assert name.split(".")[0] not in HEAVY[layer], f"{file}:{line} imports {name}"


def test_passes_and_quantizers_never_touch_the_runtime():
    pure = tuple(
        f"compiler/{name}" for name in ("partition", "passes", "quant", "tir", "tiling", "emit")
    )
    for file in [file for folder in pure for file in sources(folder)]:
        for name, line in imported(file, ast.parse(file.read_text())):
            assert not name.startswith("microscopiq.runtime"), f"{file}:{line} imports {name}"


def test_the_target_layer_loads_no_compiler():
    modules = [file.relative_to(ROOT).with_suffix("").parts for file in sources("target")]
    names = [".".join(["microscopiq", *parts]).removesuffix(".__init__") for parts in modules]
    script = f"import sys, {', '.join(names)}; print(sorted({{'tvm', 'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_package_starts_where_torch_is_not_installed():
    # tvm_ffi imports torch whenever it is there, so its absence has to be acted.
    script = "import sys; sys.modules['torch'] = None; import microscopiq.compiler.api; import tvm"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
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
import microscopiq.compiler.api, microscopiq.compiler.frontend.onnx
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
