"""The schedule of a GEMM as data: every decision that the emitter executes."""

import dataclasses
import functools
import json
from dataclasses import dataclass

from ...target.arch import Arch
from ...target.formats import MACRO_BLOCK, MICRO_BLOCK, WEIGHT_FORMATS
from ...target.packing import pack
from ...target.weight import blocks, empty
from ..operators import RECON, REPLAY, Gemm

TILE = "microscopiq.tile"
"""Attribute of a scheduled PrimFunc: its decisions."""
ORDERS = ("columns", "rows")
X_HOMES = ("group", "tile", "all")
W_HOMES = ("group", "block", "all")
SMALLEST = 2
"""TVM simplifies loops of one iteration away before it compares with an intrinsic, so no tile
has them; `clip` trims what is too much."""
OUTLIER_BYTES = 4
"""Scale and permutation list of a micro-block with outliers."""


@dataclass(frozen=True)
class GemmTile:
    """The decisions of one GEMM; none of them changes a value.

    Attributes
    ----------
    tile_m, array_n, array_k : int
        Rows streamed, array columns and array rows of one product.
    order : str
        What the outer loop walks over: blocks of 128 columns, or tiles of rows.
    x_home : str
        What of the activations is loaded at once and stays: one group of 128 inputs of a tile,
        all inputs of a tile, or all rows. Of a convolution it is gathered then.
    w_home : str
        The same of the weights: a panel, the panels of a block of 128 columns, or all.
    load_slots, result_slots : int
        Slots of a buffer that loads fill in a loop, and of sums and results.
    store_pieces : int
        Transfers in which a tile of results is stored.
    outliers : str
        Where the format has outliers: merged by ReCoN, or replayed in array rows of their own.
    """

    tile_m: int
    array_n: int
    array_k: int
    order: str = "columns"
    x_home: str = "group"
    w_home: str = "group"
    load_slots: int = 2
    result_slots: int = 2
    store_pieces: int = 1
    outliers: str = RECON


def to_text(tile) -> str:
    """Return the text form of an operator's decisions."""
    return json.dumps(dataclasses.asdict(tile))


def array_limits(op: Gemm, arch: Arch) -> tuple[int, int]:
    """Return the (columns, rows) of the array that one weight plane may use."""
    bits = WEIGHT_FORMATS[op.weight_format].pe_bits if op.weight_format else 8
    # Planes must not straddle a group of inputs or a block of columns.
    columns = _power_of_two_below(min(arch.columns(bits), MACRO_BLOCK))
    return columns, _power_of_two_below(min(arch.array_rows, op.group))


def array_tile(op: Gemm, arch: Arch) -> tuple[int, int]:
    """Return (columns, rows) of the array that one weight plane of this operator uses."""
    columns, rows = array_limits(op, arch)
    return max(SMALLEST, min(columns, op.n)), max(SMALLEST, min(rows, op.k))


def outlier_ways(op: Gemm, arch: Arch) -> tuple[str, ...]:
    """Return how a machine can multiply an operator's outliers; the first one if it has none.

    Where the operator names a way, that alone.
    """
    if not op.weight_format or not WEIGHT_FORMATS[op.weight_format].has_outliers:
        return (RECON,)
    ways = ((RECON, arch.recon_units), (REPLAY, arch.replay_columns))
    found = tuple(way for way, there in ways if there and op.way in ("", way))
    return found or (RECON,)


def columns_inside(op: Gemm, tile: GemmTile) -> bool:
    """Tell whether the planes of a group go by columns in the inner loop, not by inputs.

    The array has two planes, which take turns. Where the last group has an odd number of planes by
    inputs, the same one comes twice if these are the inner loop: it can't be loaded while it's
    used. So with the last columns if those are.
    """
    if op.groups == 1:
        return False
    inputs, columns = op.k % op.group, op.n % MACRO_BLOCK if op.column_blocks > 1 else 0
    return blocks(inputs, tile.array_k) % 2 == 1 and blocks(columns, tile.array_n) % 2 == 0


def _power_of_two_below(value: int) -> int:
    return 1 << (value.bit_length() - 1)


@functools.lru_cache(maxsize=256)
def largest_panel(weight_format: str, cols: int, rows: int) -> int:
    """Return the bytes of a panel whose every micro-block holds an outlier: none is larger."""
    size = len(pack([empty(weight_format, cols, rows)])) - 4 * 3
    if WEIGHT_FORMATS[weight_format].has_outliers:
        size += OUTLIER_BYTES * blocks(cols, MICRO_BLOCK) * rows
    return size
