"""A copy of the tree, changed at one place after the other, under its nearest tests.

TVM takes seconds to import, a change's tests often less. So TVM is imported once, without this
package: then each change is tested in a fork, which imports the package from the changed copy.
"""

import contextlib
import gc
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "runtime/libmicroscopiq_runtime.so"
LIMIT_FACTOR, LIMIT_SECONDS = 5, 20
"""Tests of a change may take this many times what they take without it, and some seconds."""
LONGEST = 1200
UNCOUNTED = ("doesn't compile", "same code")


@dataclass(frozen=True)
class Copy:
    """A copy of the tree, and of its library's build folder if C++ is to be changed."""

    tree: Path
    build: Path | None

    @staticmethod
    def make(folder: Path, builds: bool) -> "Copy":
        """Copy what git knows or would take, and build the library or take the one here."""
        tree, build = folder / "tree", folder / "build"
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, names.decode().split("\0")):
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name)
        package = tree / "build/types/microscopiq"
        package.mkdir(parents=True)
        for part in ("target", "runtime", "compiler", "python/microscopiq/__init__.py"):
            (package / Path(part).name).symlink_to(tree / part)
        if not builds:
            shutil.copy2(_library(), tree / LIBRARY)
            return Copy(tree, None)
        # Those of this environment where there are no others: `make` only calls its Python.
        os.environ["PATH"] += f":{Path(sys.executable).parent}"
        _shell(["cmake", "-S", tree / "cmake", "-B", build, "-G", "Ninja", "-DMICROSCOPIQ_QUICK=ON",
                f"-DPython_EXECUTABLE={sys.executable}"])  # fmt: skip
        _shell(["ninja", "-C", build])
        shutil.copy2(build / Path(LIBRARY).name, tree / LIBRARY)
        return Copy(tree, build)

    def judge(self, file: str, source: str, tests: tuple[str, ...], limit: float) -> str:
        """Return what notices a changed file: a test, "time limit", a signal; "" if nothing."""
        path, before = self.tree / file, (self.tree / file).read_bytes()
        times, compiled = path.stat(), self.tree / LIBRARY
        library = compiled.read_bytes()
        try:
            path.write_text(source)
            if self.build and file.endswith(".cc"):
                if subprocess.run(
                    ["ninja", "-C", self.build], capture_output=True, check=False
                ).returncode:
                    return "doesn't compile"
                built = (self.build / compiled.name).read_bytes()
                if built == library:
                    return "same code"
                _replace(compiled, built)
            return self.tested(tests, limit)
        finally:
            path.write_bytes(before)
            # The compiled module of the unchanged source is valid again.
            os.utime(path, None if file.endswith(".cc") else (times.st_atime, times.st_mtime))
            _replace(compiled, library)

    def limit(self, tests: tuple[str, ...]) -> float:
        """Return how long tests may take, in seconds; they have to pass without a change."""
        start = time.monotonic()
        failed = self.tested(tests, LONGEST, keep_bytecode=True)
        if failed:
            raise RuntimeError(f"without any change {failed} fails; see {self.tree.parent}/log")
        return LIMIT_SECONDS + LIMIT_FACTOR * (time.monotonic() - start)

    def tested(self, tests: tuple[str, ...], limit: float, keep_bytecode: bool = False) -> str:
        """Run tests in a fork of this process and return the first that fails, "" if none."""
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            _run_tests(self.tree, tests, write, keep_bytecode)
        os.close(write)
        ready, _, _ = select.select([read], [], [], limit)
        found = os.read(read, 1 << 16).decode() if ready else "time limit"
        os.close(read)
        _end_group(child)
        _, status = os.waitpid(child, 0)
        if not found:
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            return f"signal {signal.Signals(number).name}" if number else "exit"
        return "" if found == "passed" else found


def _replace(path: Path, content: bytes) -> None:
    """Write a library anew: one that a process has mapped may not change under it."""
    path.unlink()
    path.write_bytes(content)


def _library() -> Path:
    """Return the library of this installation, without importing the package here."""
    told = "from microscopiq.runtime import load; print(load())"
    return Path(_shell([sys.executable, "-c", told]).strip())


def _shell(command: list) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _end_group(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


class FirstFailure:
    """Tells the first test that fails, and ends the process."""

    def __init__(self, write: int):
        self.write = write

    def tell(self, what: str) -> None:
        os.write(self.write, what.encode()[:4000])
        os._exit(0)

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.tell(report.nodeid)

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.tell(f"import of {report.nodeid}")


def warm_up() -> None:
    """Import what tests need and no change touches; none of this package."""
    os.environ["TVM_DEVICE_BACKEND_AUTOLOAD"] = "0"
    import hypothesis.strategies  # noqa: F401
    import ml_dtypes  # noqa: F401
    import onnx  # noqa: F401
    import scipy.linalg  # noqa: F401
    import tvm.relax.frontend.onnx
    import tvm.s_tir.meta_schedule
    import tvm.script  # noqa: F401

    assert "microscopiq" not in sys.modules
    # Collections of garbage would copy all these objects into each fork.
    gc.collect()
    gc.freeze()


def _run_tests(tree: Path, tests: tuple[str, ...], write: int, keep_bytecode: bool) -> None:
    """Run tests of a tree in this process, a fresh fork; ends it."""
    try:
        os.setpgid(0, 0)
        sys.dont_write_bytecode = not keep_bytecode
        log = os.open(tree.parent / "log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        os.chdir(tree)
        os.environ["MICROSCOPIQ_SIM_DEBUG"] = "1"
        # An editable install would lead back to the tree that was copied.
        sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in type(f).__module__]
        sys.path[:0] = [str(tree / "build/types"), str(tree)]
        failure = FirstFailure(write)
        import hypothesis

        quick = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile(
            "changes", derandomize=True, database=None, phases=quick
        )
        hypothesis.settings.load_profile("changes")
        try:
            import microscopiq
            from microscopiq.compiler.backend import autoload

            assert Path(microscopiq.__file__).is_relative_to(tree), microscopiq.__file__
            autoload()
        except Exception as error:
            failure.tell(f"import: {error!r}")
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests], plugins=[failure])
        failure.tell("passed" if code == 0 else f"pytest exits with {code}")
    finally:
        os._exit(1)
