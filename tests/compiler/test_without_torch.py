"""compiler/without_torch.py: who imports TVM, and torch with it or not."""

import subprocess
import sys

from microscopiq.compiler.workers import end, interpreters

COMMANDS = """
import importlib.util, sys
from microscopiq.compiler.cli.main import main

for arguments in ("estimate --gemm 2x3x4 --json", "list passes"):
    try:
        main(arguments.split())
    except SystemExit as stop:
        assert not stop.code, stop.code
assert "tvm" in sys.modules and "torch" not in sys.modules
assert importlib.util.find_spec("torch")  # whoever wants it has it
"""


def imported(names: list[str]) -> list[bool]:
    return [name in sys.modules for name in names]


def test_commands_do_without_torch():
    command = [sys.executable, "-c", COMMANDS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"macs": 24' in done.stdout and "vectorize" in done.stdout


def test_workers_do_without_torch():
    """Also where what they begin with imports TVM, as that of a tuner does."""
    from microscopiq.compiler.tune.runner import _start

    pool = interpreters(1, _start, ({},))
    try:
        assert pool.submit(imported, ["tvm", "torch"]).result(120) == [True, False]
    finally:
        end(pool)
