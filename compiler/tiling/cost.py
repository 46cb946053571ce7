"""What a tile makes each unit of the machine do, by formula: the default schedule's judge.

Nothing here is a measurement. The simulator says what a schedule costs; these numbers choose where
nobody has asked it, and are what a learned cost model looks at.
"""

import functools
import math
from dataclasses import dataclass

from ...target.arch import Arch
from ...target.formats import GROUP_SIZE, MICRO_BLOCK, WEIGHT_FORMATS
from ...target.weight import blocks
from ..operators import Gemm
from .nest import F32
from .tile import GemmTile, array_tile, largest_panel

FLAGGED_SHARE = 0.038
"""Share of micro-blocks with outliers where weights are unknown: all-MiniLM-L6-v2 has 3.7 % in
`ms4`, 4.2 % in `ms2`."""
VISIT_GAP = 2
"""Cycles lost to each visiting row where one product follows another, as measured."""
DISPATCHED_PER_PLANE, DISPATCHED_PER_PANEL, DISPATCHED_PER_TILE = 8, 16, 20
"""Instructions that the sequencer dispatches for a plane, a panel and a tile of results."""


@dataclass(frozen=True)
class TileCost:
    """Cycles by resource, of all tiles together.

    Attributes
    ----------
    array : float
        Rows that stream, each as many cycles as ReCoN makes it wait.
    recon : float
        The part of `array` beyond a cycle for each row.
    weight_load, vector, sequencer, dma : float
        Cycles in which these units have work.
    planes : float
        What the array takes when a plane can't be loaded while another one streams.
    refills : float
        What buffers take that are refilled in a loop: a slot is loaded, used and released before
        it is loaded again, and `load_slots` or `result_slots` of them share the work.
    head, tail : float
        Cycles before the first product, and after the last one.
    read_x, read_w, written : float
        Bytes that cross the DRAM channel.
    """

    array: float
    recon: float
    weight_load: float
    vector: float
    sequencer: float
    dma: float
    planes: float
    refills: float
    head: float
    tail: float
    read_x: float
    read_w: float
    written: float

    @property
    def cycles(self) -> float:
        """Estimate of the call: the busiest unit, and what nothing overlaps."""
        busiest = max(
            self.planes, self.refills, self.dma, self.weight_load, self.vector, self.sequencer
        )
        return busiest + self.head + self.tail


def tile_cost(op: Gemm, tile: GemmTile, arch: Arch) -> TileCost:
    """Return what a tile costs on a machine."""
    outside, tiles = op.batch * op.conv_groups, blocks(op.m, tile.tile_m)
    planes_k, planes_n = plane_counts(op, arch)
    planes, turns = planes_k * planes_n, recon_turns(op, arch)
    rows, last = min(tile.tile_m, op.m), op.m - (tiles - 1) * tile.tile_m
    depth, block = min(tile.array_k, op.k), min(op.n, GROUP_SIZE)
    streamed = outside * op.m * planes
    # A plane is loaded while another one streams: the longer of the two counts.
    steps = (tiles - 1) * max(rows * turns, depth) + max(last * turns, depth)
    fill = depth + tile.array_n - 2
    if turns > 1:
        # Visits to ReCoN keep their order: a product waits for those ahead to thin out.
        steps += tiles * (fill + VISIT_GAP * turns)
    results, element = outside * op.m * op.n, 1 if op.requantize else F32
    extra = op.bias + op.residual + (op.low is not None or op.high is not None) + 2 * op.requantize
    lanes, latency = arch.vector_lanes or math.inf, arch.dram_latency_cycles
    bandwidth = arch.dram_bandwidth_bytes_per_cycle or math.inf
    loads = _loads(op, tile)
    moved = sum(load.bytes for load in loads) + results * (element + F32 * op.residual)
    dispatched = (
        outside
        * tiles
        * (
            planes * DISPATCHED_PER_PLANE
            + op.column_blocks * (op.groups * DISPATCHED_PER_PANEL + DISPATCHED_PER_TILE)
        )
    )
    drain = rows * block / lanes
    panels = outside * tiles * op.column_blocks * op.groups
    busy = outside * planes * steps
    refills = [
        busy + load.times * (load.bytes / load.times / bandwidth + latency + load.held(fill, drain))
        for load in loads
        if load.times > 1
    ]
    results_held = fill + drain * (1 + extra) + rows * block * element / bandwidth
    sums = (busy + panels * (fill + drain)) / tile.result_slots if panels > 1 else 0
    # Behind a last group of few inputs the next but one waits until its sums are drained.
    rest = op.k % GROUP_SIZE if op.groups > 1 else 0
    short = blocks(rest, tile.array_k) * planes_n / op.column_blocks * max(rows * turns, depth)
    gap = max(0.0, fill + drain - short) if rest and tile.result_slots == 2 else 0.0
    waits = busy + outside * tiles * op.column_blocks * gap
    stored = busy + panels / op.groups * results_held if panels > op.groups else 0
    return TileCost(
        array=streamed * turns,
        recon=streamed * (turns - 1),
        weight_load=outside * tiles * planes_n * op.k,
        vector=results * (op.groups + extra) / lanes,
        sequencer=dispatched * arch.sequencer_cycles,
        dma=moved / bandwidth,
        planes=busy,
        refills=max(
            max(refills, default=0) / tile.load_slots, sums, waits, stored / tile.result_slots
        ),
        head=latency + sum(load.bytes / load.times for load in loads) / bandwidth + depth,
        tail=fill + last * block * ((1 + extra) / lanes + element / bandwidth) + latency,
        read_x=loads[0].bytes,
        read_w=loads[1].bytes,
        written=results * element,
    )


@dataclass(frozen=True)
class _Load:
    """An operand's bytes in all, and the number of transfers."""

    bytes: float
    times: int
    drained: bool

    def held(self, fill: float, drain: float) -> float:
        """Return the cycles from the last use by the array until the slot is free."""
        return fill + drain if self.drained else 0


def _loads(op: Gemm, tile: GemmTile) -> tuple[_Load, _Load]:
    """Return what is loaded of the activations and of the weights."""
    outside, tiles, columns = op.batch * op.conv_groups, blocks(op.m, tile.tile_m), op.column_blocks
    inner, by_rows = outside * tiles * columns, tile.order == "rows"
    x_times = {
        "all": outside,
        "tile": outside * tiles if by_rows or columns == 1 else inner,
        "group": inner * op.groups,
    }[tile.x_home]
    w_times = {
        "all": outside,
        "block": inner if by_rows and tiles > 1 else outside * columns,
        "group": inner * op.groups,
    }[tile.w_home]
    stays = tile.x_home == "all" or (tile.x_home == "tile" and (by_rows or columns == 1))
    x_bytes = outside * op.m * op.k * (1 if stays else columns)
    stays = tile.w_home == "all" or (tile.w_home == "block" and (not by_rows or tiles == 1))
    w_bytes = outside * columns * op.groups * expected_panel(op) * (1 if stays else tiles)
    # A drain reads scales beside the panel.
    return _Load(x_bytes, x_times, False), _Load(w_bytes, w_times, bool(op.weight_format))


def plane_counts(op: Gemm, arch: Arch) -> tuple[int, int]:
    """Return how many planes a weight has, by inputs and by columns."""
    array_n, array_k = array_tile(op, arch)
    full_k, rest_k = divmod(op.k, GROUP_SIZE)
    full_n, rest_n = divmod(op.n, GROUP_SIZE)
    return (
        full_k * blocks(GROUP_SIZE, array_k) + blocks(rest_k, array_k),
        full_n * blocks(GROUP_SIZE, array_n) + blocks(rest_n, array_n),
    )


def recon_turns(op: Gemm, arch: Arch, share: float = FLAGGED_SHARE) -> float:
    """Return the expected cycles that ReCoN makes of a row's one, 1 without outliers."""
    if not op.weight_format or not WEIGHT_FORMATS[op.weight_format].has_outliers:
        return 1.0
    array_n, array_k = array_tile(op, arch)
    strip = min(arch.recon_segment_columns or array_n, array_n)
    flagged = 1 - (1 - share) ** blocks(strip, MICRO_BLOCK)
    return max(1.0, min(array_k, op.k) * flagged / max(1, arch.recon_units))


@functools.lru_cache(maxsize=1024)
def expected_panel(op: Gemm) -> float:
    """Return the bytes of a panel, with as many outliers as weights have on average."""
    cols, rows = min(op.n, GROUP_SIZE), min(op.k, GROUP_SIZE)
    if not op.weight_format:
        return cols * rows
    largest = largest_panel(op.weight_format, cols, rows)
    if not WEIGHT_FORMATS[op.weight_format].has_outliers:
        return largest
    return largest - 4 * blocks(cols, MICRO_BLOCK) * rows * (1 - FLAGGED_SHARE)
