"""The schedule of a GEMM as data: every decision that the emitter executes.

A tile is legal when its buffers fit: `footprint` is the table that `allocate` will make, known
before anything is emitted, so that illegal tiles are never proposed.
"""

import dataclasses
import functools
import json
from dataclasses import dataclass

from ...target.arch import Arch
from ...target.formats import GROUP_SIZE, MICRO_BLOCK, WEIGHT_FORMATS
from ...target.packing import blocks, empty, pack
from ..operators import Gemm

TILE = "microscopiq.tile"
"""Attribute of a scheduled PrimFunc: its decisions."""
ORDERS = ("columns", "rows")
X_HOMES = ("group", "tile", "all")
W_HOMES = ("group", "block", "all")
SMALLEST = 2
"""TVM simplifies loops of one iteration away before it compares with an intrinsic, so no tile
has them; `clip` trims what is too much."""
F32, I32 = 4, 4
OUTLIER_BYTES = 4
"""Scale and permutation list of a micro-block with outliers."""
ALIGNMENT = 4
"""fp32 and int32 accesses on the chip are aligned."""


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


def to_text(tile: GemmTile) -> str:
    """Return the text form of a tile."""
    return json.dumps(dataclasses.asdict(tile))


def from_text(text: str) -> GemmTile:
    """Return the tile of a text form."""
    return GemmTile(**json.loads(text))


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of a step that is not below the value."""
    return blocks(value, step) * step


def array_tile(op: Gemm, arch: Arch) -> tuple[int, int]:
    """Return (columns, rows) of the array that one weight plane of this operator uses."""
    bits = WEIGHT_FORMATS[op.weight_format].bits if op.weight_format else 8
    # Planes must not straddle a group of 128 inputs or a block of 128 columns.
    columns = _power_of_two_below(min(arch.columns(bits), GROUP_SIZE))
    rows = _power_of_two_below(min(arch.array_rows, GROUP_SIZE))
    return max(SMALLEST, min(columns, op.n)), max(SMALLEST, min(rows, op.k))


def columns_inside(op: Gemm, tile: GemmTile) -> bool:
    """Tell whether the planes of a group go by columns in the inner loop, not by inputs.

    The array has two planes, which take turns. Where the last group has an odd number of planes by
    inputs, the same one comes twice if these are the inner loop: it can't be loaded while it's
    used. So with the last columns if those are.
    """
    if op.groups == 1:
        return False
    inputs, columns = op.k % GROUP_SIZE, op.n % GROUP_SIZE if op.column_blocks > 1 else 0
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


def footprint(op: Gemm, tile: GemmTile, panel: int | None = None) -> dict[str, int]:
    """Return the bytes of each memory that a tile's buffers take.

    Parameters
    ----------
    panel : int, optional
        Bytes of the largest weight panel; without it those that no panel exceeds.
    """
    block = round_up(min(op.n, GROUP_SIZE), tile.array_n)
    group = round_up(min(op.k, GROUP_SIZE), tile.array_k)
    tiles = blocks(op.m, tile.tile_m)
    outside = op.batch * op.conv_groups
    columns, rows = _trips(op, tile)
    inner = outside * tiles * op.column_blocks

    def slots(count: int, trips: int) -> int:
        # What is filled once needs no second slot.
        return count if trips > 1 else 1

    load, result = tile.load_slots, tile.result_slots
    x_trips = {"all": outside, "tile": rows, "group": inner * op.groups}[tile.x_home]
    w_trips = {"all": outside, "block": columns, "group": inner * op.groups}[tile.w_home]
    x_rows = tiles * tile.tile_m if tile.x_home == "all" else tile.tile_m
    x_groups = 1 if tile.x_home == "group" else op.groups
    panels = {"group": 1, "block": op.groups, "all": op.groups * op.column_blocks}[tile.w_home]
    size = block * group
    if op.weight_format:
        size = panel or largest_panel(
            op.weight_format, min(op.n, GROUP_SIZE), min(op.k, GROUP_SIZE)
        )
    exponents = 1 if op.conv else tile.tile_m * op.groups
    results = slots(result, inner)
    spad = _aligned(x_rows * x_groups * group) * slots(load, x_trips)
    spad += _aligned(exponents) * slots(load, rows)
    if op.requantize:
        spad += (_aligned(tile.tile_m * block) + _aligned(tile.tile_m)) * results
    wbuf = _aligned(panels * size) * slots(load, w_trips)
    if not op.weight_format:
        wbuf += _aligned(block * op.groups) * slots(load, columns)
    obuf = tile.tile_m * block * F32 * results
    obuf += block * F32 * slots(load, columns) * op.bias
    obuf += tile.tile_m * block * F32 * slots(load, inner) * op.residual
    acc = tile.tile_m * block * I32 * slots(result, inner * op.groups)
    return {"spad": spad, "wbuf": wbuf, "acc": acc, "obuf": obuf}


def _trips(op: Gemm, tile: GemmTile) -> tuple[int, int]:
    """Return how often the loops over blocks of columns and over tiles of rows turn in all."""
    outside, tiles = op.batch * op.conv_groups, blocks(op.m, tile.tile_m)
    all_trips = outside * tiles * op.column_blocks
    if tile.order == "columns":
        return outside * op.column_blocks, all_trips
    return all_trips, outside * tiles


def _aligned(size: int) -> int:
    return round_up(size, ALIGNMENT)


def fits(op: Gemm, tile: GemmTile, arch: Arch, panel: int | None = None) -> bool:
    """Tell whether a tile's buffers fit the memories of an architecture."""
    return all(
        need <= getattr(arch, f"{name}_bytes") for name, need in footprint(op, tile, panel).items()
    )
