"""Writes small programs of every kind, legal ones, for the fuzzers to start from.

python -m tests.fuzz.seeds FOLDER
"""

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np

from microscopiq.compiler.kinds.registry import emit, emit_tile, kind_of, scheduled
from microscopiq.compiler.operators import Conv, Gemm, Quantize
from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.compiler.symbolic import Symbol, Symbolic, largest, symbols_of
from microscopiq.target.arch import load_arch
from microscopiq.target.isa.program import Program
from microscopiq.target.packing import pack
from microscopiq.target.segment import panel_bytes, panels, shape_only
from tests.families import FAMILIES, compiled
from tests.runtime.gemm_program import gemm, random_weight

TINY = load_arch("tiny-4x4")


def _size(name: str, most: int) -> Symbolic:
    return Symbol(name, 1, most).number


METHOD = {
    "int4": "rtn",
    "int8": "rtn",
    "ms2": "microscopiq",
    "ms4": "microscopiq",
    "ms4-g16": "microscopiq",
}
# Channels, image, kernel, strides, padding, dilation.
CONV = Conv(2, 5, 4, 3, 2, 2, 1, 1, 0, 2, 1, 1, 2)
OPERATORS = {
    "int4": Gemm(1, 1, 5, 10, 9, "int4", bias=True),
    "int8": Gemm(1, 1, 5, 10, 9, "int8", residual=True),
    "ms2": Gemm(1, 1, 5, 17, 9, "ms2", bias=True, low=0.0),
    "ms4": Gemm(1, 1, 5, 17, 9, "ms4", bias=True, residual=True, low=0.0, high=6.0),
    "ms4_groups": Gemm(1, 1, 3, 8, 131, "ms4"),
    "requantized": Gemm(1, 1, 5, 10, 9, "ms4", bias=True, requantize=True),
    "attention": Gemm(2, 1, 5, 7, 9, ""),
    "conv": Gemm(1, 2, CONV.out_height * CONV.out_width, 9, 12, "ms4", CONV, bias=True),
    "quantize": Quantize(5, 130, 128),
    "quantize_4_bits": Quantize(5, 130, 128, "mx-int4"),
    "quantize_6_bits": Quantize(5, 130, 32, "mxint6"),
    "quantize_unsigned": Quantize(5, 130, 32, "mxuint4"),
    "ms4_short": Gemm(1, 1, 3, 8, 70, "ms4-g16", activation="mxint6-g16"),
    "quantize_image": Quantize(2, 50, 50),
    "quantize_pixels": Quantize(20, 130, 128, batch=2, across=True),
    "sized_attention": Gemm(_size("batch", 2), 1, _size("m", 5), _size("n", 7), _size("k", 9), ""),
    "sized_quantize": Quantize(_size("rows", 5), _size("length", 130), 128),
}


def program(op: Gemm | Quantize) -> Program:
    """Return the compiled program of one operator."""
    rng, segment = np.random.default_rng(0), b""
    if isinstance(op, Gemm) and op.weight_format:
        real = (rng.standard_t(3, (op.conv_groups, op.n, op.k)) * 0.05).astype(np.float32)
        method, name = METHOD[op.weight_format], op.weight_format
        segment = pack([quantize_weight(method, weight, name, "seed")[0] for weight in real])
    if symbols_of(op):
        tile = kind_of(op).default_tile(largest(op), TINY)
        function = emit_tile(op, tile, TINY, "f", "seed", segment)
    else:
        function = emit(scheduled(op, TINY).mod["main"], TINY, "f", "seed", segment)
    return Program.for_arch(TINY, {"f": function})


@functools.cache
def seeds() -> dict[str, bytes]:
    """Return saved programs by name; all of them run to their end, in debug mode too."""
    found = {name: program(op) for name, op in OPERATORS.items()}
    for name in METHOD:
        function = gemm(TINY, random_weight(name, 9, 10), 3)
        found[f"by_hand_{name}"] = Program.for_arch(TINY, {"gemm": function})
    both = {
        name: dataclasses.replace(found[name].functions["f"], name=name)
        for name in ("ms4", "quantize")
    }
    found["two_functions"] = Program.for_arch(TINY, both)
    timed = found["ms4"].functions["f"]
    panel, sizes = panels(timed.weights)[0], panel_bytes(timed.weights)
    shapes = dataclasses.replace(timed, weights=shape_only([panel], np.zeros(len(sizes), int)))
    found["shape_only"] = Program.for_arch(TINY, {"f": shapes})
    found |= {f"model_{name}": compiled(make()).program for name, make in FAMILIES.items()}
    return {name: each.to_bytes() for name, each in found.items()}


def main() -> None:
    """Write one file per program."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds().items():
        (folder / f"{name}.bin").write_bytes(data)


if __name__ == "__main__":
    main()
