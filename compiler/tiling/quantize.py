"""The decisions and the loop nest of a run-time quantization."""

from dataclasses import dataclass

from ...target.arch import Arch
from ...target.isa.spec import Mem
from ...target.weight import blocks
from ..operators import Quantize
from .nest import F32, Axis, BufferRow, Nest, Stage

RING = 2
"""Slots of a buffer that is refilled in a loop: load, compute and store overlap."""
MOST_ROWS = 1024


@dataclass(frozen=True)
class QuantizeTile:
    """Rows quantized together and elements of a row held at once."""

    tile_rows: int
    tile_length: int
    load_slots: int = RING
    result_slots: int = RING


def default_quantize_tile(op: Quantize, arch: Arch) -> QuantizeTile:
    """Return the tile of a quantization: rows of one group, or chunks of a long one."""
    budget = min(arch.obuf_bytes // F32, arch.spad_bytes) // RING // 2
    group = min(op.group, op.length)
    if group > budget:
        return QuantizeTile(1, blocks(group, blocks(group, budget)))
    tiles = blocks(op.rows, min(max(1, budget // (group + 1)), MOST_ROWS))
    return QuantizeTile(blocks(op.rows, tiles), group)


def quantize_nest(op: Quantize, tile: QuantizeTile) -> Nest:
    """Return the loop nest of a quantization.

    A group that is longer than the buffer is read twice, because its exponent is known only at its
    end: once for the exponent, once for the codes.
    """
    group = blocks(min(op.group, int(op.length)), tile.tile_length) * tile.tile_length
    rows = blocks(op.rows, tile.tile_rows) * tile.tile_rows
    axes = {
        "b": Axis("batch", op.batch, 1),
        "r": Axis("tiles of rows", rows, tile.tile_rows),
        "g": Axis("groups", op.groups, 1),
        "p": Axis("chunks", group // tile.tile_length, 1),
        "j": Axis("", tile.tile_length, tile.tile_length),
        "one": Axis("", 1, 1),
    }
    element, row = ("b", "r", "g", "p", "j"), ("b", "r", "g")
    twice = axes["p"].trips > 1
    codes = [Stage("x_again_tile", element, "p", "x_again", feeds="q")] if twice else []
    stages = (
        Stage("x_tile", element, "p", "x", feeds="bits"),
        Stage("bits", element, "p", "exponent", reduced=2),
        Stage("exponent", row, "g", "exponent"),
        Stage("out_exponent", row, "g"),
        *codes,
        Stage("q", element, "p", "q"),
        Stage("out", element, "p"),
    )
    buffers = (
        BufferRow("x", Mem.OBUF, "x_tile", ("r",), ("j",), F32),
        BufferRow("x_again", Mem.OBUF, "x_again_tile", ("r",), ("j",), F32),
        BufferRow("exponent", Mem.SPAD, "exponent", ("r",), ("one",), result=True),
        BufferRow("q", Mem.SPAD, "q", ("r",), ("j",), result=True),
    )
    by_name = {stage.name: stage for stage in stages}
    return Nest(axes, ("b", "r", "g", "p"), by_name, buffers, "bits", "r")
