"""The legal tiles of a GEMM on a machine, and the one that is taken when nobody has measured.

Every tile fits the memories by construction: for what stays on the chip, the rows of a tile follow.
"""

import dataclasses
import functools
import math

from ...target.arch import Arch
from ...target.errors import CapacityError
from ...target.formats import MACRO_BLOCK, WEIGHT_FORMATS
from ...target.weight import blocks
from ..operators import Gemm
from .cost import resources
from .gemm import fits, footprint
from .nest import F32
from .tile import ORDERS, SMALLEST, W_HOMES, X_HOMES, GemmTile, array_tile, outlier_ways
from .walk import walk

MAX_TILE_M, PLAIN_ROWS = 4096, 1024
TILE_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
"""Into how many tiles rows are cut, as far as that makes any difference."""
TILE_ROWS = (16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024)
LOAD_SLOTS = (3, 2)
RESULT_SLOTS = (2, 3, 1)
MORE_LOADS, MORE_RESULTS = (10, 24), (6, 24)
"""Slots where planes follow each other in less time than a sum or a transfer is on its way."""
STORE_PIECES = (1, 2, 4)
PIECE_BYTES = 1 << 16
"""A large tile of results is stored in pieces: the channel isn't shared within a transfer, and
what the array needs next shouldn't wait for all of it."""
NEARLY_EQUAL = 0.001
"""Part of the estimated cycles by which two tiles don't differ: the formula isn't that exact."""


@functools.lru_cache(maxsize=64)
def legal_tiles(op: Gemm, arch: Arch) -> tuple[GemmTile, ...]:
    """Return every tile that may be proposed, in a fixed order; none is left out by chance."""
    found = []
    for order, x_home, w_home, loads, results in _structures(op, arch):
        for tile_m in _rows(op, arch):
            tile = _tile(op, arch, tile_m, order=order, x_home=x_home, w_home=w_home,
                         load_slots=loads, result_slots=results)  # fmt: skip
            if fits(op, tile, arch):
                found += _pieces(op, tile)
    # The way of outliers has no part in what fits.
    ways = outlier_ways(op, arch)
    return tuple(dataclasses.replace(tile, outliers=way) for way in ways for tile in found)


def _structures(op: Gemm, arch: Arch):
    """Yield the choices that don't depend on the rows of a tile, without those that are alike."""
    more = arch.row_release
    load_slots = (*LOAD_SLOTS, *MORE_LOADS) if more else LOAD_SLOTS
    result_slots = (*RESULT_SLOTS, *MORE_RESULTS) if more else RESULT_SLOTS
    for order in ORDERS if op.column_blocks > 1 else ORDERS[:1]:
        for x_home in X_HOMES:
            for w_home in W_HOMES:
                if (w_home == "block" and op.groups == 1) and order == "rows":
                    continue
                if w_home == "all" and op.column_blocks == 1:
                    continue
                for loads in load_slots:
                    for results in result_slots:
                        yield order, x_home, w_home, loads, results


def _rows(op: Gemm, arch: Arch) -> list[int]:
    """Return the rows that a tile may have: balanced over the tiles, or whole steps."""
    if not arch.overlap:
        return [max(SMALLEST, op.m)]
    balanced = {max(SMALLEST, blocks(op.m, count)) for count in TILE_COUNTS}
    whole = {rows for rows in TILE_ROWS if rows < op.m}
    rows = {r for r in balanced | whole if r <= MAX_TILE_M}
    # Below half of the cycles of its load a plane takes longer to load than to use; with outliers
    # it's the order of visits to ReCoN that many planes of few rows wait for.
    depth = array_tile(op, arch)[1]
    least = min(op.m, (depth if _has_outliers(op) else arch.load_cycles(depth)) // 2)
    return sorted(r for r in rows if r >= least)


def _has_outliers(op: Gemm) -> bool:
    return bool(op.weight_format) and WEIGHT_FORMATS[op.weight_format].has_outliers


def _pieces(op: Gemm, tile: GemmTile) -> list[GemmTile]:
    most = 4 * default_pieces(op, tile.tile_m)
    return [dataclasses.replace(tile, store_pieces=n) for n in STORE_PIECES if n <= most]


def default_pieces(op: Gemm, tile_m: int) -> int:
    """Return in how many pieces a tile of results is stored, unless that is tuned."""
    size = tile_m * min(op.n, MACRO_BLOCK) * (1 if op.requantize else F32)
    return next((n for n in STORE_PIECES if n * PIECE_BYTES >= size), STORE_PIECES[-1])


def _tile(op: Gemm, arch: Arch, tile_m: int, **decisions) -> GemmTile:
    pieces = default_pieces(op, tile_m)
    way = outlier_ways(op, arch)[0]
    return GemmTile(tile_m, *array_tile(op, arch), store_pieces=pieces, outliers=way, **decisions)


@functools.lru_cache(maxsize=512)
def default_gemm_tile(op: Gemm, arch: Arch) -> GemmTile:
    """Return a tile of least estimated cycles: a rule, no measurement and no chance.

    Of those that don't differ, it's the one of fewest instructions.

    Raises
    ------
    CapacityError
        When not even two rows fit; the message has the table of memories.
    """
    # A third slot of sums is for what follows a short last group.
    slots = (2, 3) if op.groups > 1 and op.k % op.group else (2,)
    tiles = [
        tile
        for tile in legal_tiles(op, arch)
        if tile.result_slots in (*slots, *MORE_RESULTS)
        and tile.store_pieces == default_pieces(op, tile.tile_m)
    ]
    return least_tile(op, arch, tiles) if tiles else plain_tile(op, arch)


def least_tile(op: Gemm, arch: Arch, tiles: list[GemmTile]) -> GemmTile:
    """Return the tile of fewest instructions among those of nearly least estimated cycles.

    Tiles are looked at in the order of their instructions. None takes less than its busiest unit,
    so that many needn't be walked through: those whose unit alone takes more than the best so
    far, and all others once nothing can be better than what was found.
    """
    near = 1 + NEARLY_EQUAL
    seen = [(resources(op, tile, arch), tile) for tile in tiles]
    seen.sort(key=lambda pair: pair[0].sequencer)
    least = min(need.busiest for need, _ in seen)
    best, walked = math.inf, []
    for need, tile in seen:
        if need.busiest > best * near:
            continue
        cycles = walk(op, tile, arch).cycles
        walked.append((need.sequencer, cycles, tile))
        best = min(best, cycles)
        if cycles <= least * near:
            break
    found = [item for item in walked if item[1] <= best * near]
    # Where rows wait for weights and ReCoN, more of them than the formula knows are on their way.
    more = -1 if arch.row_release else 0
    return min(
        found,
        key=lambda item: (*item[:2], more * item[2].result_slots, more * item[2].load_slots),
    )[2]


def plain_tile(op: Gemm, arch: Arch) -> GemmTile:
    """Return the tile that loads all it needs again, double-buffered, with the most rows that fit.

    It needs least memory of all: for machines whose memories hold no other, and for tests.

    Raises
    ------
    CapacityError
        When not even two rows fit; the message has the table of memories.
    """
    plain = _tile(op, arch, SMALLEST)
    sizes = {"spad": arch.spad_bytes, "acc": arch.acc_bytes, "obuf": arch.obuf_bytes}
    need = footprint(op, plain)
    if any(need[name] > size for name, size in sizes.items()):
        lines = [f"{'memory':8} {'capacity':>10} {'needed for 2 rows':>20}"]
        lines += [f"{name:8} {size:>10,} {need[name]:>20,}" for name, size in sizes.items()]
        raise CapacityError(
            f"no tile of its GEMM (M {op.m}, N {op.n}, K {op.k}, batch {op.batch}) fits "
            f"{arch.name} (bytes, double-buffered):\n  " + "\n  ".join(lines)
        )
    low, high = SMALLEST, max(SMALLEST, min(op.m, PLAIN_ROWS) if arch.overlap else op.m)
    while low < high:
        middle = (low + high + 1) // 2
        need = footprint(op, _tile(op, arch, middle))
        if all(need[name] <= size for name, size in sizes.items()):
            low = middle
        else:
            high = middle - 1
    return _tile(op, arch, max(SMALLEST, blocks(op.m, blocks(op.m, low))))
