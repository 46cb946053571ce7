"""Fixtures of all tests, which run in the simulator's debug mode, in this process and others."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything loads the core.
os.environ["MICROSCOPIQ_SIM_DEBUG"] = "1"
# What is printed depends on the width that a shell may have exported.
os.environ.pop("COLUMNS", None)

# A worker has a core of its own: threads of BLAS, of torch and of what LLVM built would only wait
# for those of the other workers.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TVM_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# `make test` draws the same cases in every run, `make nightly` others: --hypothesis-profile=random
# with a seed that it prints. A case that fails there is added as an @example.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("same")

GOLDEN_DIR = Path(__file__).parent / "golden"
MAX_GOLDEN_LINES = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden with what tests get"
    )


@pytest.fixture
def production_mode() -> Iterator[None]:
    """Turn debug mode off: for programs that it refuses, and whose values or cycles count."""
    from microscopiq.runtime import set_debug

    before = set_debug(False)
    yield
    set_debug(before)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a function that compares a text with the file of that name in tests/golden."""

    def compare(name: str, text: str) -> None:
        lines = len(text.splitlines())
        assert lines <= MAX_GOLDEN_LINES, f"golden of {lines} lines; at most {MAX_GOLDEN_LINES}"
        path = GOLDEN_DIR / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), (
            f"{path} differs; --update-golden rewrites it"
        )

    return compare


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background deaf to Ctrl-C, and the tests' processes with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
