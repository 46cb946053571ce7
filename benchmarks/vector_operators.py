"""How near operators of the vector unit come to what bounds them, by default.

python -m benchmarks.vector_operators [--markdown docs/vector_operators.md] [--json]

Each is a model of its own: its tensors come from DRAM and go there. The bound is the larger of two:
its instructions on the vector unit's lanes, and its tensors over the bandwidth, each once.
Exits with 1 where an operator is below 80 % of it.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.runtime.session import Session
from microscopiq.target.arch import DEFAULT_ARCH, load_arch

LEAST = 0.8
FLOAT_BYTES = 4
Body = Callable[[relax.Expr], relax.Expr]


def _normed(x: relax.Expr) -> relax.Expr:
    scale, offset = (relax.const(np.full(384, each, np.float32)) for each in (1.5, 0.25))
    return op.nn.layer_norm(x, scale, offset, [-1])


OPERATORS: dict[str, tuple[tuple[int, ...], Body]] = {
    "softmax": ((12, 128, 128), op.nn.softmax),
    "layer norm": ((128, 384), _normed),
    "GELU": ((128, 1536), op.nn.gelu),
    "transpose": ((128, 384), lambda x: op.permute_dims(x, [1, 0])),
}
"""By name: a shape of BERT's, and what is computed."""


def measure(name: str, arch: str) -> dict:
    """Return the row of an operator."""
    shape, body = OPERATORS[name]
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(builder.emit(body(x)))
        builder.emit_func_output(y)
    machine = load_arch(arch)
    result = Session(compile_model(builder.get(), Options(arch=machine)).executable).time()
    assert not result.host_calls
    lanes = sum(call["vector_ops"] for call in result.calls) / machine.vector_lanes
    moved = 2 * FLOAT_BYTES * int(np.prod(shape)) / machine.dram_bandwidth_bytes_per_cycle
    return {
        "operator": name,
        "shape": " x ".join(f"{size:,}" for size in shape),
        "cycles": result.cycles,
        "lanes": round(lanes),
        "dma": round(moved),
        "share": max(lanes, moved) / result.cycles,
    }


def markdown(rows: list[dict], arch: str) -> str:
    """Return the figures as a page of the documentation."""
    lines = [
        "# Operators of the vector unit",
        "",
        "Written by `python -m benchmarks.vector_operators --markdown docs/vector_operators.md`:",
        f"operators in fp32 alone on `{arch}`, from DRAM to DRAM, beside what bounds them: cycles",
        "of their instructions on the vector unit's lanes, and of their tensors on the channel. At",
        f"least {100 * LEAST:.0f} % of the larger one has to be reached.",
        "",
        "| operator | shape | cycles | lanes | DMA | share |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['operator']} | {row['shape']} | {row['cycles']:,} | {row['lanes']:,} | "
        f"{row['dma']:,} | {100 * row['share']:.1f} % |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and print; exit with 1 when an operator is below the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default=DEFAULT_ARCH)
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [measure(name, args.arch) for name in OPERATORS]
    text = markdown(rows, args.arch)
    print(json.dumps(rows, indent=1) if args.json else text, end="")
    if args.markdown:
        args.markdown.write_text(text)
    return 0 if all(row["share"] >= LEAST for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
