"""Time and memory to simulate the timing of one LLaMA-2-7B decoder layer, without weights.

python -m benchmarks.llama_layer [--preset llama2-7b-layer] [--tokens 2048] [--json]

Each format is a process of its own that runs `microscopiq estimate`: start of Python, import of
TVM, scheduling, emission and every instruction of the programs included. Seconds are of the CPU
(user and system, one thread): on a machine that does nothing else that is what a clock shows.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

FORMATS = ("ms4", "ms2", "int4", "int8")
MOST_SECONDS = 5.0
MOST_MEGABYTES = 500.0
"""What the project asks of itself; the run fails above either."""
COMMAND = "from microscopiq.compiler.cli.main import main; main()"


def measure(preset: str, tokens: int, weight_format: str) -> dict:
    """Return a row: seconds, peak memory of the process, and the result of the command."""
    arguments = ["estimate", "--preset", preset, "--tokens", str(tokens), "--json"]
    command = [sys.executable, "-c", COMMAND, *arguments, "--format", weight_format]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    text = process.stdout.read()
    # Of this very process, where `resource` has the most of all children only.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[3:])} failed with exit code {process.returncode}")
    return {
        "format": weight_format,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - start,
        "peak_mb": usage.ru_maxrss * _maxrss_bytes() / 1e6,
        "result": json.loads(text),
    }


def _maxrss_bytes() -> int:
    """Return the unit of `ru_maxrss`: kilobytes on Linux, bytes on macOS."""
    return 1 if sys.platform == "darwin" else 1024


def main() -> int:
    """Measure every format; exit with 1 when one takes too long or too much memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="llama2-7b-layer")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [measure(args.preset, args.tokens, name) for name in FORMATS]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        console = Console(width=110)
        console.print(operator_table(rows, f"{args.preset}, {args.tokens:,} tokens: cycles"))
        console.print(cost_table(rows))
    good = all(row["cpu_s"] < MOST_SECONDS and row["peak_mb"] < MOST_MEGABYTES for row in rows)
    return 0 if good else 1


def operator_table(rows: list[dict], title: str) -> Table:
    """Return cycles by operator and format."""
    table = Table(title=title)
    table.add_column("operator")
    for row in rows:
        table.add_column(row["format"], justify="right")
    for calls in zip(*(row["result"]["calls"] for row in rows), strict=True):
        table.add_row(calls[0]["layer"], *(f"{call['cycles']:,}" for call in calls))
    table.add_section()
    table.add_row("layer", *(f"{row['result']['cycles']:,}" for row in rows))
    return table


def cost_table(rows: list[dict]) -> Table:
    """Return what the simulation itself took, by format."""
    table = Table(title=f"Simulation: below {MOST_SECONDS:g} s of the CPU, {MOST_MEGABYTES:g} MB")
    table.add_column("format")
    for heading in ("CPU s", "wall s", "peak MB", "instructions", "Mcycles/s", "utilisation %"):
        table.add_column(heading, justify="right")
    for row in rows:
        result = row["result"]
        instructions = sum(call["instructions"] for call in result["calls"])
        table.add_row(
            row["format"],
            f"{row['cpu_s']:.2f}",
            f"{row['wall_s']:.2f}",
            f"{row['peak_mb']:.0f}",
            f"{instructions:,}",
            f"{result['cycles'] / row['cpu_s'] / 1e6:,.0f}",
            f"{100 * result['utilisation']:.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
