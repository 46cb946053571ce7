"""The functions of the vector unit against true values: every fp32 input of each of one argument.

``python -m benchmarks.vector_functions`` takes all 2**32 bit patterns through the C++ core and a
double-precision library, and 2**30 pairs for the power; with ``--markdown`` it writes the table of
docs/vector_functions.md, with ``--stride N`` it takes every Nth block of 65,536. It exits with 1
beyond 2 units in the last place. It needs GCC, one core, and half an hour of it.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tvm_ffi

from microscopiq.runtime import load
from microscopiq.target.functions import FUNCTIONS

BOUND = 2.0
BLOCK = 1 << 16
PAIRS = 1 << 30
UNARY = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sigmoid", "tanh", "erf", "sin",
    "cos", "tan", "sqrt", "rsqrt",
)  # fmt: skip
SOURCE = Path(__file__).with_suffix(".cc")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")


@dataclass
class Row:
    """What was found of a function.

    Attributes
    ----------
    inputs : int
        How many were taken.
    ulp : float
        Largest error, and `at` the input where it is.
    misrounded : float
        Share of results that aren't the nearest fp32 number.
    """

    name: str
    inputs: int = 0
    ulp: float = 0.0
    at: tuple[float, ...] = ()
    misrounded: float = 0.0


def build(folder: Path) -> ctypes.CDLL:
    """Compile the reference; linked without -ffast-math, which would flush subnormals."""
    made = folder / "reference.o", folder / "reference.so"
    subprocess.run(["g++", *FLAGS, "-c", SOURCE, "-o", made[0]], check=True)
    subprocess.run(["g++", "-shared", made[0], "-lm", "-o", made[1]], check=True)
    library = ctypes.CDLL(str(made[1]))
    library.largest_error.restype = ctypes.c_double
    return library


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def every_input(library: ctypes.CDLL, stride: int) -> Iterator[list[np.ndarray]]:
    """Yield all fp32 numbers in blocks, or of each `stride` blocks one."""
    x = np.empty(BLOCK, np.float32)
    for first in range(0, 1 << 32, BLOCK * stride):
        library.every_float(ctypes.c_uint32(first), ctypes.c_int64(BLOCK), _pointer(x))
        yield [x]


def pairs(stride: int) -> Iterator[list[np.ndarray]]:
    """Yield bases and exponents: results of every size, bases near 1, small integers, any bits."""
    random = np.random.default_rng(0)
    for block in range(0, PAIRS // BLOCK, stride):
        kind = block % 4
        if kind == 0:
            x = np.exp2(random.uniform(-149, 128, BLOCK)).astype(np.float32)
        elif kind == 1:
            near = 2.0 ** random.uniform(-24, -1, BLOCK) * random.choice((-1, 1), BLOCK)
            x = (1 + near).astype(np.float32)
        if kind < 2:
            with np.errstate(divide="ignore"):
                y = random.uniform(-150, 128.5, BLOCK) / np.log2(x.astype(np.float64))
            yield [x, y.astype(np.float32)]
        elif kind == 2:
            whole = random.integers(-40, 41, (2, BLOCK)).astype(np.float32)
            yield [whole[0] / np.float32(2), whole[1] / np.float32(4)]
        else:
            patterns = random.integers(0, 1 << 32, (2, BLOCK), dtype=np.uint32)
            yield list(patterns.view(np.float32))


def measure(name: str, library: ctypes.CDLL, blocks: Iterator[list[np.ndarray]]) -> Row:
    """Return the largest error of a function over blocks of inputs."""
    apply = tvm_ffi.get_global_func("microscopiq.runtime.apply_function")
    reference: Callable = getattr(library, f"reference_{name}")
    got, truth, scratch = np.empty(BLOCK, np.float32), np.empty(BLOCK), np.empty(BLOCK)
    where, misrounded = ctypes.c_int64(), ctypes.c_int64()
    row, count = Row(name), ctypes.c_int64(BLOCK)
    for inputs in blocks:
        apply(name, *inputs, got)
        reference(*map(_pointer, inputs), count, _pointer(truth))
        ulp = library.largest_error(
            _pointer(got), _pointer(truth), count, _pointer(scratch), ctypes.byref(where),
            ctypes.byref(misrounded),
        )  # fmt: skip
        row.inputs += BLOCK
        if ulp > row.ulp:
            row.ulp, row.at = ulp, tuple(float(array[where.value]) for array in inputs)
    row.misrounded = misrounded.value / row.inputs
    return row


def nanoseconds(name: str) -> float:
    """Return the time of an element, the best of several runs over 65,536 in the cache."""
    apply = tvm_ffi.get_global_func("microscopiq.runtime.apply_function")
    random, best = np.random.default_rng(0), np.inf
    inputs = [np.abs(random.normal(size=BLOCK)).astype(np.float32) for _ in FUNCTIONS[name].inputs]
    out = np.empty(BLOCK, np.float32)
    for _ in range(40):
        start = time.perf_counter()
        apply(name, *inputs, out)
        best = min(best, time.perf_counter() - start)
    return best / BLOCK * 1e9


def markdown(rows: list[Row]) -> str:
    """Return the table of docs/vector_functions.md."""
    out = ["| function | inputs | largest error, ulp | at | not nearest |", "|---|---|---|---|---|"]
    for row in rows:
        at = ", ".join(f"{value:.9g}" for value in row.at)
        share = f"{100 * row.misrounded:.2f} %"
        out.append(f"| `{row.name}` | {row.inputs:,} | {row.ulp:.3f} | {at} | {share} |")
    return "\n".join(out) + "\n"


def main() -> int:
    """Measure, print, and say whether the bound holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", nargs="*", choices=(*UNARY, "pow"), default=(*UNARY, "pow"))
    parser.add_argument("--stride", type=int, default=1, help="of so many blocks take one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument(
        "--time", action="store_true", help="nanoseconds of an element, nothing else"
    )
    options = parser.parse_args()
    load()
    if options.time:
        for name in options.only:
            print(f"{name:8} {nanoseconds(name):6.2f} ns")
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        for name in options.only:
            blocks = (
                pairs(options.stride) if name == "pow" else every_input(library, options.stride)
            )
            rows.append(measure(name, library, blocks))
            text = json.dumps(asdict(rows[-1])) if options.json else markdown(rows[-1:])
            print(text if options.json else text.splitlines()[-1], flush=True)
    if options.markdown:
        options.markdown.write_text(markdown(rows), encoding="utf-8")
    return int(any(row.ulp > BOUND for row in rows))


if __name__ == "__main__":
    sys.exit(main())
