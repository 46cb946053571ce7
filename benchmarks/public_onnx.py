"""Public ONNX files through the compiler: what comes in, how near, and what the array takes of it.

python -m benchmarks.public_onnx --onnx-dir DIR [--only NAME ...] [--json] [--markdown PAGE]

`public_onnx.toml` says where each file is from. DIR has them as NAME.onnx; a file that is missing
is left out, with a line. Inputs are random, the recipe is `int8` without data.
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
from tvm import relax

import microscopiq as mq
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.check import distance_db, random_inputs, run_fp32
from microscopiq.compiler.frontend.onnx.beside import source_outputs
from microscopiq.compiler.options import Options
from microscopiq.compiler.study.models.macs import macs_of

ROWS = Path(__file__).with_suffix(".toml")
RECIPE = "int8"
COLUMNS = ("import s", "fp32 dB", "MACs on the array", "int8 dB", "on the host", "state")


def measure(path: Path, about: dict) -> dict:
    """Return a file's row; what fails is said under `state`, with what had been found out."""
    row: dict = {"file": path.stem, "state": "imports"}
    shapes, values = about.get("shapes", {}), about.get("values", {})
    try:
        start = time.process_time()
        mod = mq.load_model(path, input_shapes=shapes, input_values=values)
        row["import_s"] = time.process_time() - start
        inputs = random_inputs(mod)
        for name, chosen in about.get("pictures", {}).items():
            inputs[name] = picture(inputs[name].shape, *chosen)
        fixed = {name: np.asarray(value) for name, value in values.items()}
        wanted = source_outputs(path, inputs | fixed)
        row["fp32_db"] = distance_db(wanted, run_fp32(mod, list(inputs.values())))
        row["state"] = "agrees"
        compilation = compile_model(mod, Options(recipe=RECIPE))
        products = macs(mod)
        row["macs"] = products
        on_array = sum(record.macs for record in compilation.layers.values())
        row["share"] = on_array / products if products else None
        row["host"] = host_products(compilation)
        row["state"] = "builds"
        result = mq.Session(compilation.executable).run(*inputs.values()).outputs
        row["int8_db"] = distance_db(wanted, result)
        row["state"] = "runs"
    except mq.MicroscopiqError as error:
        row["error"] = str(error)
    except Exception as error:
        row["error"] = f"DEFECT {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    return row


def picture(shape: tuple[int, ...], low: float, high: float, seed: int = 0) -> np.ndarray:
    """Return rectangles of even colours, from darkest to brightest, as an input of images.

    What detectors and readers are for isn't in noise: they answer with nothing.
    """
    rng = np.random.default_rng(seed)
    channels_last = shape[-1] <= 3
    rows, columns = shape[1:3] if channels_last else shape[2:4]
    channels = shape[-1] if channels_last else shape[1]
    image = np.full((channels, rows, columns), 0.5)
    for _ in range(60):
        y, x = rng.integers(0, rows), rng.integers(0, columns)
        height, width = rng.integers(2, 2 + rows // 4), rng.integers(2, 2 + columns // 4)
        image[:, y : y + height, x : x + width] = rng.random((channels, 1, 1))
    image = low + (high - low) * (image + 0.02 * rng.standard_normal(image.shape))
    image = np.moveaxis(image, 0, -1) if channels_last else image
    return np.broadcast_to(image, shape).astype(np.float32)


def macs(mod: tvm.IRModule) -> int:
    """Return the multiply-accumulates of a module's products and convolutions."""
    total = 0

    def visit(expr) -> None:
        nonlocal total
        total += macs_of(expr) if isinstance(expr, relax.Call) else 0

    relax.analysis.post_order_visit(mod["main"], visit)
    return total


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
        "aren't part of this project. Inputs are random; `fp32 dB` is how near the imported module",
        "on LLVM comes to ONNX Runtime, `int8 dB` the same of the compiled one, recipe `int8` "
        "without",
        "data. What of products and convolutions is on the host stands under that name.",
        "",
        f"| file | source | {' | '.join(COLUMNS)} |",
        f"|---|---|{'---:|' * 4}---|---|",
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
