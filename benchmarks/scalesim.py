"""Cycles and SRAM accesses against SCALE-Sim v3, weight-stationary, on GEMMs and ResNet-18.

python -m benchmarks.scalesim [--json] [--only NAME]

Every row of `peers/scalesim.csv` (its own runs, CALC mode) is compiled to a program of one
operator and executed with exact values, checked against NumPy, on

- `ws-NxN-ideal`: total cycles and SRAM counts must be equal;
- the default machine of that size (int4 weights, no outliers): cycles are at least MACs / (R*C)
  and mostly below SCALE-Sim's count. SCALE-Sim counts from the first weight to the last partial
  sum, without DRAM and without a vector unit: `array_window` is that span on our machine, which
  waits for both ("waits"); the whole call (DRAM latency, scaling to fp32, storing) is shown beside
  it. Tiles are chosen for the shortest call: where its results take DRAM longer than the products
  take the array, the span may be longer than SCALE-Sim's.

SCALE-Sim rounds the output size of a strided convolution up; a row or column of zeros at the
end gives our convolution the same size.
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import tvm
from rich.console import Console
from rich.progress import track
from rich.table import Table

import microscopiq  # noqa: F401  (loads the C++ core)
from microscopiq.compiler.kinds.program import operator_program
from microscopiq.compiler.operators import Conv, Gemm
from microscopiq.target.arch import arch_names, load_arch
from microscopiq.target.packing import pack
from microscopiq.target.weight import QuantizedWeight, blocks

PEER = Path(__file__).parent / "peers" / "scalesim.csv"
SPEEDUP = 300.0
"""Least ratio of CPU seconds, SCALE-Sim's over ours, that the project asks of itself."""
REPEATS = 3
COUNTS = {"activations": "sram_ifmap_reads", "weights": "sram_filter_reads",
          "sums_written": "sram_ofmap_writes"}  # fmt: skip


def operator(row: dict, weight_format: str) -> Gemm:
    """Return the operator of a row of the table."""
    if row["kind"] == "gemm":
        m, n, k = map(int, row["dims"].split("x"))
        return Gemm(1, 1, m, n, k, weight_format)
    height, width, kernel_h, kernel_w, channels, n, stride = map(int, row["dims"].split("x"))
    pad_h, pad_w = (
        -(size - kernel) % stride for size, kernel in ((height, kernel_h), (width, kernel_w))
    )
    conv = Conv(
        channels, height, width, kernel_h, kernel_w, stride, stride, 0, 0, pad_h, pad_w, 1, 1
    )
    m = conv.out_height * conv.out_width
    return Gemm(1, 1, m, n, channels * kernel_h * kernel_w, weight_format, conv)


def run(op: Gemm, arch_name: str) -> tuple[dict, float]:
    """Execute an operator on random int8 values; return its call record and CPU seconds.

    Raises
    ------
    AssertionError
        When a value differs from NumPy's.
    """
    rng = np.random.default_rng(0)
    limit = 7 if op.weight_format == "int4" else 127
    w = rng.integers(-limit, limit + 1, (op.n, op.k))
    scale = np.full((blocks(op.k, 128), op.n), 2.0**-6, np.float16)
    slots = (w & (15 if limit == 7 else 255)).astype(np.uint8)
    segment = pack([QuantizedWeight(op.weight_format, slots, scale)])
    program = operator_program(op, load_arch(arch_name), segment)
    module = tvm.get_global_func("microscopiq.runtime.create")(program.to_bytes())
    x_argument = program.functions["operator"].arguments[0]
    x = rng.integers(-127, 128, x_argument.shape).astype(np.int8)
    exponents = np.zeros(program.functions["operator"].arguments[1].shape, np.int8)
    out = np.zeros(op.output_shape, np.float32)
    tensors = [tvm.runtime.tensor(array) for array in (x, exponents, out)]
    module["operator"](*tensors)
    seconds = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        module["operator"](*tensors)
        seconds = min(seconds, time.process_time() - start)
    rows = im2col(x, op) if op.conv else x[0]
    want = rows.astype(np.float64) @ w.T.astype(np.float64) * 2.0**-6
    given = tensors[2].numpy().astype(np.float64)
    given = given.reshape(op.n, op.m).T if op.conv else given[0]
    np.testing.assert_array_equal(given, want.astype(np.float32))
    return json.loads(str(module["microscopiq.stats"]()))[0], seconds


def im2col(x: np.ndarray, op: Gemm) -> np.ndarray:
    """Return the rows (pixels, channels * kernel) of a convolution's input."""
    conv = op.conv
    padded = np.pad(x[0], ((0, 0), (0, conv.pad_bottom), (0, conv.pad_right)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (conv.kernel_h, conv.kernel_w), axis=(1, 2)
    )[:, :: conv.stride_h, :: conv.stride_w]
    return windows.transpose(1, 2, 0, 3, 4).reshape(op.m, op.k)


def compare(row: dict) -> dict:
    """Return what both machines and SCALE-Sim say about a row of the table."""
    size = int(row["array"])
    ideal, seconds = run(operator(row, "int8"), f"ws-{size}x{size}-ideal")
    result = {
        "name": row["name"],
        "array": size,
        "scalesim": int(row["total_cycles"]),
        "ideal": ideal["cycles"],
        "counts_equal": all(
            ideal["accesses"][ours] == int(row[theirs]) for ours, theirs in COUNTS.items()
        ),
        "speedup": float(row["cpu_s"]) / seconds,
    }
    result["matched"] = result["ideal"] == result["scalesim"] and result["counts_equal"]
    default = f"microscopiq-{size}x{size}"
    if default in arch_names():
        op = operator(row, "int4")
        record, _ = run(op, default)
        result["least"] = op.macs / size**2
        result["window"], result["call"] = record["array_window"], record["cycles"]
        array = record["units"]["array"]
        result["waits"] = array["dma"] + array["vector"]
        # SCALE-Sim reports the index of the last cycle: one less than the cycles.
        result["between"] = result["least"] <= result["window"] <= result["scalesim"] + 1
        result["call_between"] = result["call"] <= result["scalesim"] + 1
    return result


def main() -> int:
    """Compare every row; exit with 1 when one differs, is slow, or faster than its PEs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with PEER.open() as file:
        rows = [row for row in csv.DictReader(file) if args.only in row["name"]]
    quiet = Console(stderr=True)
    results = [compare(row) for row in track(rows, "SCALE-Sim rows", console=quiet)]
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        print_table(results)
    good = all(row["matched"] and row.get("window", 0) >= row.get("least", 0) for row in results)
    return 0 if good and min(row["speedup"] for row in results) >= SPEEDUP else 1


def print_table(results: list[dict]) -> None:
    """Print a row per comparison and the totals."""
    console = Console(width=120)
    table = Table(title="ws-NxN-ideal and microscopiq-NxN (int4) against SCALE-Sim v3")
    table.add_column("work")
    for heading in ("array", "SCALE-Sim", "ideal", "equal", "MACs/RC", "array window", "waits",
                    "call", "CPU: times faster"):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in results:
        equal = "yes" if row["matched"] else "NO"
        default = ["", "", "", ""]
        if "least" in row:
            marks = ["" if row["between"] else " !", "" if row["call_between"] else " >"]
            default = [
                f"{row['least']:,.0f}",
                f"{row['window']:,}{marks[0]}",
                f"{row['waits']:,}",
                f"{row['call']:,}{marks[1]}",
            ]
        table.add_row(row["name"], str(row["array"]), f"{row['scalesim']:,}", f"{row['ideal']:,}",
                      equal, *default, f"{row['speedup']:,.0f}")  # fmt: skip
    console.print(table)
    judged = [row for row in results if "least" in row]
    console.print(
        f"cycles and SRAM counts equal: {sum(r['matched'] for r in results)} / {len(results)}"
    )
    console.print(
        f"array window between MACs/RC and SCALE-Sim: {sum(r['between'] for r in judged)} / "
        f"{len(judged)}; whole call below SCALE-Sim: {sum(r['call_between'] for r in judged)}"
    )
    console.print(
        f"CPU seconds, SCALE-Sim's over ours: at least {min(r['speedup'] for r in results):,.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
