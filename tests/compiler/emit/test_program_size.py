"""Programs are loops: their size doesn't grow with the number of tiles, to the byte."""

import itertools

import pytest

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.kinds.registry import emit, scheduled
from microscopiq.compiler.operators import Conv, Gemm, Quantize
from microscopiq.compiler.tiling.legal import plain_tile
from microscopiq.target.arch import load_arch
from microscopiq.target.isa import instructions as isa

ARCH = load_arch("microscopiq-64x64")


def conv(size: int, channels: int) -> Gemm:
    geometry = Conv(channels, size, size, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    return Gemm(1, 1, size * size, 256, 9 * channels, "ms4", geometry, bias=True, low=0.0)


GROWING = {
    "linear, M": [Gemm(1, 1, m, 512, 640, "ms4") for m in (2048, 8192, 32768)],
    "linear, N": [Gemm(1, 1, 1024, n, 640, "ms4") for n in (512, 2048, 8192)],
    "linear, K": [Gemm(1, 1, 2048, 512, k, "ms4") for k in (640, 2560, 10240)],
    "linear, fused": [
        Gemm(1, 1, m, 512, 640, "ms2", None, True, True, 0.0, 6.0) for m in (2048, 8192, 32768)
    ],
    "linear, requantized": [
        Gemm(1, 1, m, 512, 640, "int8", bias=True, requantize=True) for m in (2048, 8192, 32768)
    ],
    "attention, heads": [Gemm(heads, 1, 1024, 1024, 128, "") for heads in (2, 8, 32)],
    "conv2d, pixels": [conv(size, 128) for size in (64, 128, 256)],
    "conv2d, channels": [conv(64, channels) for channels in (128, 512, 2048)],
    "quantize, rows": [Quantize(rows, 4096, 128) for rows in (2048, 8192, 32768)],
    "quantize, images": [Quantize(count, 1 << 20, 1 << 20) for count in (2, 8, 32)],
}
"""Dimensions that grow fourfold, and with them about the tiles. M, N and K differ: equal ones
share their clips."""


def sizes(op) -> tuple[int, int, int]:
    """Return what a run executes, instructions and tiles (matmuls or quants), and code bytes."""
    segment = stand_in_segment(op) if isinstance(op, Gemm) else b""
    # The same way to tile at every size: the default may take another one for a larger operator.
    tile = plain_tile(op, ARCH) if isinstance(op, Gemm) else None
    code = emit(scheduled(op, ARCH, tile).mod["main"], ARCH, "f", "layer", segment).code
    tile = isa.Matmul if isinstance(op, Gemm) else isa.Quant
    executed = tiles = 0
    loops = [1]
    for instruction in code:
        executed += loops[-1]
        tiles += loops[-1] * isinstance(instruction, tile)
        if isinstance(instruction, isa.Loop):
            loops.append(loops[-1] * instruction.count)
        elif isinstance(instruction, isa.EndLoop):
            loops.pop()
    return executed, tiles, sum(len(instruction.encode()) for instruction in code)


def test_code_bytes_do_not_depend_on_the_number_of_tiles(golden):
    lines = [f"{'growing':20} {'executed':>12} {'tiles':>9} {'code bytes':>10}"]
    for name, operators in GROWING.items():
        rows = [sizes(op) for op in operators]
        for (_, few, small), (_, many, large) in itertools.pairwise(rows):
            assert many > 3 * few, name
            assert small == large, name
        for executed, tiles, size in rows:
            lines.append(f"{name:20} {executed:>12,} {tiles:>9,} {size:>10,}")
    golden("program_sizes.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("format_name", ["int4", "int8", "ms2", "ms4"])
def test_a_decoder_layer_fits_a_few_kilobytes_per_operator(format_name):
    # LLaMA-2-7B's largest product: 86 x 32 panels, each loaded for 4 tiles of rows.
    op = Gemm(1, 1, 2048, 11008, 4096, format_name)
    executed, tiles, size = sizes(op)
    assert tiles >= 86 * 32 * 4
    assert executed > 100_000
    assert size < 4096
