"""Public ONNX files through the compiler: what comes in, how near, and what the array takes of it.

python -m benchmarks.public_onnx --onnx-dir DIR [--only NAME ...] [--json] [--markdown PAGE]

`public_onnx.toml` says where each file is from, and what it gets as inputs. DIR has them as
NAME.onnx; a file that is missing is left out, with a line. The recipe is `int8` without data.
Beside it is ONNX Runtime's own static INT8, calibrated on 32 inputs of that kind; where its tool
fails on a file, on the products alone.
"""

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import tomllib
import tvm
from rich.console import Console
from rich.table import Table

import microscopiq as mq
from microscopiq.compiler.driver import compile_model, prepared
from microscopiq.compiler.frontend.check import UNIT, distance_db, run_fp32
from microscopiq.compiler.frontend.onnx.beside import source_outputs
from microscopiq.compiler.options import Options
from microscopiq.compiler.partition.given import source_products
from microscopiq.compiler.partition.graph import function_names
from microscopiq.compiler.passes.integers.take import take_integers

from .ort_static import static_int8
from .public_inputs import make_inputs

ROWS = Path(__file__).with_suffix(".toml")
RECIPE = "int8"
SAMPLES = 32
COLUMNS = (
    "import s", "fp32 dB", "MACs on the array", "int8 dB", "ORT int8 dB", "on the host", "state"
)  # fmt: skip


def measure(path: Path, about: dict) -> dict:
    """Return a file's row; what fails is said under `state`, with what had been found out."""
    row: dict = {"file": path.stem, "state": "imports"}
    shapes, values = about.get("shapes", {}), about.get("values", {})
    try:
        start = time.process_time()
        mod = mq.load_model(path, input_shapes=shapes, input_values=values)
        row["import_s"] = time.process_time() - start
        inputs = make_inputs(mod, about)
        fixed = {name: np.asarray(value) for name, value in values.items()}
        wanted = source_outputs(path, inputs | fixed)
        row["fp32_db"] = near(wanted, run_fp32(mod, list(inputs.values())))
        row["state"] = "agrees"
        # What comes quantized has its own integers, and a recipe on top would be an error.
        compilation = compile_model(mod, Options(recipe=None if comes_quantized(mod) else RECIPE))
        row["host"] = host_products(compilation)
        row["state"] = "builds"
        result = mq.Session(compilation.executable).run(*inputs.values())
        row["macs"] = result.macs + sum(called["macs"] for called in result.host_calls)
        row["share"] = result.macs / row["macs"] if row["macs"] else None
        row["int8_db"] = near(wanted, result.outputs)
        row["state"] = "runs"
        samples = [make_inputs(mod, about, seed) | fixed for seed in range(1, SAMPLES + 1)]
        row |= peer(path, samples, inputs | fixed, wanted)
    except mq.MicroscopiqError as error:
        row["error"] = str(error)
    except Exception as error:
        row["error"] = f"DEFECT {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    return row


def near(wanted: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Return the distance in dB; of outputs that are all small, small differences count too."""
    largest = max((float(np.abs(one).max(initial=0.0)) for one in wanted), default=0.0)
    return distance_db(wanted, found, UNIT * min(1.0, largest or 1.0))


def comes_quantized(mod: tvm.IRModule) -> bool:
    """Tell whether a model's products multiply integers of its own."""
    taken = take_integers(prepared(mod))
    return any(source_products(taken[gv]) for gv in function_names(taken))


def peer(path: Path, samples: list[dict], inputs: dict, wanted: list[np.ndarray]) -> dict:
    """Return how near ONNX Runtime's static INT8 comes, or why there's none."""
    try:
        return {"ort_int8_db": near(wanted, static_int8(path, samples, inputs))}
    except RuntimeError as error:
        return {"ort_int8_fails": str(error)}


def host_products(compilation) -> dict[str, int]:
    """Return how many products and convolutions, and batch norms, the host has."""
    found: Counter = Counter()
    for each in compilation.host:
        if each.operator.startswith(("matmul", "nn.conv", "nn.batch_norm")):
            found[each.operator] += each.times
    return dict(found)


def text(row: dict) -> tuple[str, ...]:
    """Return a row as a table shows it."""

    def db(key: str) -> str:
        value = row.get(key)
        return "" if value is None else "equal" if np.isinf(value) and value > 0 else f"{value:.1f}"

    share = row.get("share")
    host = ", ".join(f"{times} {name}" for name, times in row.get("host", {}).items())
    state = row["state"] if "error" not in row else row["error"].split("\n")[-1].strip()
    return (
        row["file"],
        f"{row['import_s']:.1f}" if "import_s" in row else "",
        db("fp32_db"),
        "" if share is None else f"{100 * min(share, 1):.0f} %",
        db("int8_db"),
        "fails" if "ort_int8_fails" in row else db("ort_int8_db"),
        host,
        state,
    )


def markdown(rows: list[dict], about: dict) -> str:
    """Return the rows as a page."""
    lines = [
        "# Public ONNX files",
        "",
        "Written by `python -m benchmarks.public_onnx --onnx-dir DIR --markdown "
        "docs/public_onnx.md`.",
        "Where each file is from, and its licence: `benchmarks/public_onnx.toml`. The files "
        "themselves",
        "aren't part of this project. `fp32 dB` is how near the imported module on LLVM comes to",
        "ONNX Runtime, `int8 dB` the same of the compiled one, recipe `int8` without data, and",
        f"`ORT int8 dB` that of ONNX Runtime's own static INT8 after {SAMPLES} inputs (QDQ,",
        "weights by channel; products alone where its tool fails on the rest). Inputs are noise,",
        "or what a file is for: `benchmarks/public_inputs.py`. What of products and convolutions",
        "is on the host stands under that name.",
        "",
        f"| file | source | {' | '.join(COLUMNS)} |",
        f"|---|---|{'---:|' * 5}---|---|",
    ]
    for row in rows:
        name, *cells = text(row)
        source = " ".join(about[name]["source"].split()[:2])
        lines.append(f"| {name} | {source} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx-dir", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    about = tomllib.loads(ROWS.read_text(encoding="utf-8"))
    rows = []
    for name in args.only or about:
        path = args.onnx_dir / f"{name}.onnx"
        if not path.is_file():
            print(f"skipped {name}: {path} is missing; {about[name]['source']}", file=sys.stderr)
            continue
        rows.append(measure(path, about[name]))
        print("  ".join(text(rows[-1])), file=sys.stderr, flush=True)
    if args.markdown:
        args.markdown.write_text(markdown(rows, about), encoding="utf-8")
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    table = Table("file", *COLUMNS)
    for row in rows:
        table.add_row(*text(row))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
