"""compiler/cli as a process: what it imports, its streams, Ctrl-C, and its exit codes."""

import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "microscopiq"]
INTERRUPTED_AT = """
import atexit, os, signal, sys
from microscopiq.compiler.cli.main import main
name, sys.argv = sys.argv[1], sys.argv[1:]

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

class Watch:
    def find_spec(self, found, path=None, target=None):
        if found == name:
            interrupt()

sys.meta_path.insert(0, Watch())
if name == "exit":
    atexit.register(interrupt)
main()
"""
WITHOUT_TVM = """
import sys
from microscopiq.compiler.cli.main import main
for line in sys.stdin.read().splitlines():
    try:
        main(line.split())
    except SystemExit as stop:
        print(stop.code, flush=True)
heavy = {"tvm", "tvm_ffi", "onnx", "torch", "scipy.linalg"} & sys.modules.keys()
assert not heavy, heavy
"""


def run(*arguments: str, command=None, **options) -> subprocess.CompletedProcess:
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 300} | options
    return subprocess.run([*(command or COMMAND), *arguments], check=False, **settings)


def test_mistakes_are_found_without_tvm(tmp_path):
    """A typo took 4 s, the time that TVM takes to import."""
    model, library, arrays = (tmp_path / name for name in ("m.onnx", "m.so", "x.npz"))
    for path in (model, library, arrays):
        path.write_bytes(b"not looked into" * 10)
    table = f"--csv {tmp_path}/none/t.csv"
    expected = {
        f"compile {model} -o {tmp_path}/m.so --recip int8": "No such option: --recip",
        f"compile {model} -o {tmp_path}/m.so --recipe int7": "unknown recipe 'int7'",
        f"compile {model} -o {tmp_path}/m.so --arch tiny": "unknown architecture 'tiny'",
        f"compile {model} -o {tmp_path}/m.bin": "must end in .so or .tar",
        f"compile {model} -o {tmp_path}/none/m.so": "no folder that can be written",
        f"compile {model} -o {tmp_path}/m.so --dump-dir {model}/d": "can't make the folder",
        f"compile {model} -o {tmp_path}/m.so --calibration none.npz": "file not found: none.npz",
        f"compile {model} -o {tmp_path}/m.so --tuning-db {tmp_path}": "no tuning database in",
        "compile none.onnx -o m.so": "model file not found: none.onnx",
        "compile m.pt -o m.so": "torch files execute code",
        f"run {model} --timing-only": "not an exported program",
        f"run {library} --input none.npz": "input file not found: none.npz",
        f"run {library} --input {arrays} -o {tmp_path}/none/y.npz": "no folder that can be written",
        f"run {library} --input {arrays} -o /proc/y.npz": "no folder that can be written: /proc",
        f"run {library} --input {arrays} {table}": "no folder that can be written",
        f"run {library} --timing-only --technology 6nm": "unknown technology '6nm'",
        "inspect none.so": "program file not found: none.so",
        "estimate --gemm 12x34": "product '12x34'; allowed",
        "estimate --gemm 2x2x2 --format ms8": "unknown weight format 'ms8'",
        "estimate --preset llama2-7b-layer --tokens 0": "tokens = 0; allowed",
        f"tune {model} --trials 0 --work-dir {tmp_path}": "greater than or equal to 1",
        f"tune {model} --trials 9 --work-dir {model}/w": "can't make the folder",
        f"study dse {model} --sweep recon_unit=1": "unknown key 'recon_unit'",
        f"study dse {model} --sweep array=8 {table}": "no folder that can be written",
        f"study compare {model} --calibration {arrays} --recipes int7": "unknown recipe 'int7'",
        f"study ablation {model} --calibration {arrays} --bits 3": "bits = 3; allowed: 2, 4",
        f"demo --recipe {model}": "unknown recipe",
    }
    command = [sys.executable, "-c", WITHOUT_TVM]
    env = {**os.environ, "TERMINAL_WIDTH": "200"}
    done = run(command=command, input="\n".join(expected).encode(), env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == ["2"] * len(expected)
    text = done.stderr.decode()
    for line, message in expected.items():
        assert message in text, line
        text = text[text.index(message) + len(message) :]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("rich", ["list", "formats"]), ("tvm", ["list", "passes"]), ("exit", ["list", "formats"])],
)
def test_early_and_late_ctrl_c(name, arguments):
    """While the command line is imported, while TVM is, and while Python ends."""
    done = run(name, *arguments, command=[sys.executable, "-c", INTERRUPTED_AT])
    assert (done.returncode, done.stderr) == (130, b"")


def test_ctrl_c_that_a_shell_ignores_stays_ignored():
    ignored = "trap '' INT; exec " + " ".join([sys.executable, "-c", '"$0"', "rich", "--version"])
    done = run("-c", ignored, INTERRUPTED_AT, command=["bash"])
    assert (done.returncode, done.stderr) == (0, b"")


def test_full_disk():
    with open("/dev/full", "wb") as full:
        done = run("list", "formats", stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"error: can't use standard output: No space left on device\n"


def test_reader_that_went_away():
    reading, writing = os.pipe()
    os.close(reading)
    done = run("list", "recipes", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_output():
    done = run("-c", f"exec {' '.join(COMMAND)} list formats >&-", command=["bash"])
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_in_ascii():
    """Frames and bars have stand-ins of the same width, so that the columns stay where they are."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    for arguments in (["area", "microscopiq-64x64"], ["list", "archs"], ["--help"]):
        plain = run(*arguments, env=env)
        assert (plain.returncode, plain.stderr) == (0, b""), arguments
        lines = plain.stdout.decode("ascii").splitlines()
        full = run(*arguments, env={**os.environ, "PYTHONUTF8": "1"}).stdout.decode()
        assert list(map(len, lines)) == list(map(len, full.splitlines()))
        assert not any("?" in line for line in lines)
        assert ("█" in full) == any("|##" in line for line in lines)
