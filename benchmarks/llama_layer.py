"""Seconds and memory to time one LLaMA-2-7B decoder layer, 2,048 tokens, without any weights.

python -m benchmarks.llama_layer [--tokens 2048] [--json]

Each format runs in a process of its own, which is measured whole: Python, TVM, scheduling,
emission, and every instruction of the program through the timing core. The weights are stand-ins
of which only sizes and the share of micro-blocks with outliers are known.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

MOST_SECONDS, MOST_MEGABYTES = 5.0, 500.0
"""What the project asks of itself; the run fails above it."""
FORMATS = {"ms4": "microscopiq-64x64", "ms2": "microscopiq-64x64", "int4": "microscopiq-64x64"}
PRESET = "llama2-7b-layer"


def estimate_here(weight_format: str, arch_name: str, tokens: int) -> dict:
    """Time the layer in this process; return its costs and what the process took so far."""
    import microscopiq  # noqa: F401  (loads the C++ core)
    from microscopiq.compiler.estimate import estimate
    from microscopiq.compiler.presets import preset_tasks
    from microscopiq.target.arch import load_arch

    found = estimate(preset_tasks(PRESET, tokens, lambda _: weight_format), load_arch(arch_name))
    result = found.result
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cycles": result.cycles,
        "utilisation": result.utilisation,
        "instructions": sum(call["instructions"] for call in result.calls),
        "recon_share": result.unit_cycles["array"]["recon"] / result.cycles,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def measure(weight_format: str, arch_name: str, tokens: int) -> dict:
    """Run `estimate_here` in a process of its own; return its row."""
    command = [sys.executable, "-m", "benchmarks.llama_layer", "--here", weight_format, arch_name]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--tokens", str(tokens)], capture_output=True, text=True, check=True
    )
    row = json.loads(done.stdout.splitlines()[-1])
    return {"format": weight_format, "wall_s": time.perf_counter() - start, **row}


def main() -> int:
    """Measure every format; exit with 1 above a bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(estimate_here(*args.here, args.tokens)))
        return 0
    rows = [measure(name, arch, args.tokens) for name, arch in FORMATS.items()]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=100).print(table(rows, args.tokens))
    worst = max(row["cpu_s"] for row in rows), max(row["peak_mb"] for row in rows)
    return 0 if worst[0] <= MOST_SECONDS and worst[1] <= MOST_MEGABYTES else 1


def table(rows: list[dict], tokens: int) -> Table:
    """Return the rows as a table for a terminal."""
    out = Table(title=f"{PRESET}, {tokens} tokens, microscopiq-64x64, timing only")
    out.add_column("format")
    for heading in ("cycles", "utilisation", "in ReCoN", "instructions", "CPU s", "wall s",
                    "peak MB"):  # fmt: skip
        out.add_column(heading, justify="right")
    for row in rows:
        out.add_row(
            row["format"],
            f"{row['cycles']:,}",
            f"{100 * row['utilisation']:.1f} %",
            f"{100 * row['recon_share']:.0f} %",
            f"{row['instructions']:,}",
            f"{row['cpu_s']:.1f}",
            f"{row['wall_s']:.1f}",
            f"{row['peak_mb']:,.0f}",
        )
    return out


if __name__ == "__main__":
    sys.exit(main())
