"""What each step of a tile gives the units to do: transfers, planes, drains, instructions."""

import functools
import itertools
import math
from collections import Counter
from dataclasses import dataclass

from ...target.arch import Arch
from ...target.formats import MACRO_BLOCK, MICRO_BLOCK, WEIGHT_FORMATS
from ...target.weight import blocks
from ..operators import Conv, Gemm
from .nest import F32
from .recon import plane_visits
from .replay import plane_depths
from .tile import RECON, REPLAY, GemmTile, array_tile, columns_inside, largest_panel

TOKENS = 2
"""A wait and a post: what each unit has around its use of a buffer."""


@dataclass(frozen=True)
class Plane:
    """A weight plane and a tile's rows that stream through it, in cycles.

    Attributes
    ----------
    load : float
        Of the weights: cycles of the fullest bus.
    late : float
        Cycles that loads wait behind the rows because buses are faster, unless rows are released.
    busy : float
        Of the rows.
    hold : float
        From the end of `busy` until the last row has been read.
    latency : float
        From the end of `busy` until the last sum is there.
    gap : float
        From the end of `busy` until the array can take the next plane's rows.
    """

    load: float
    late: float
    busy: float
    hold: float
    latency: float
    gap: float


@dataclass(frozen=True)
class Part:
    """A tile of results by 128 columns: its planes by group (others, last), and cycles of the rest.

    `empty` is how many instructions of a panel, by group, are for planes without columns or inputs.
    """

    planes: tuple[tuple[tuple[int, Plane], ...], ...]
    empty: tuple[int, int]
    drain: float
    finish: float
    residual: float
    stores: tuple[float, ...]


class Work:
    """The steps of an operator on a machine; pairs are of whole groups or blocks, and the last.

    `way` is how outliers are multiplied, of formats that have any.
    """

    def __init__(self, op: Gemm, arch: Arch, way: str = RECON):
        self.op, self.arch, self.replays = op, arch, way == REPLAY
        self.array_n, self.array_k = array_tile(op, arch)
        self.cols, self.inputs = _ends(op.n, MACRO_BLOCK), _ends(op.k, op.group)
        self.bandwidth = arch.dram_bandwidth_bytes_per_cycle or math.inf
        self.lanes = arch.vector_lanes or math.inf
        self.inside = inside_share(op.conv) if op.conv else 1.0
        self.element = 1 if op.requantize else F32
        self.extra = (
            op.bias + op.residual + (op.low is not None or op.high is not None) + 2 * op.requantize
        )
        packed = bool(op.weight_format)
        self.outliers = (
            packed and not self.replays and WEIGHT_FORMATS[op.weight_format].has_outliers
        )
        # Units that read weights: they load planes, merge outliers, and scale sums.
        self.w_readers = 1 + self.outliers + bool(op.weight_format)
        # An array that hands on rows one by one needs no tokens for its planes.
        tokens = 0 if arch.row_release else TOKENS
        self.load_tokens = (tokens + 1) * (1 + self.outliers)
        self.plane_tokens = 1 + tokens * (1 + self.outliers)
        self.panel_bytes = [
            [expected_panel(op, cols, rows) for cols in self.cols] for rows in self.inputs
        ]
        self.w_panel = [[self.transfer(size) for size in row] for row in self.panel_bytes]
        self.w_block = [_total(op.groups, [row[n] for row in self.w_panel]) for n in (0, 1)]
        self.w_all = _total(op.column_blocks, self.w_block)
        self.x_all = self.transfer(op.m * op.k * self.inside)
        self.bias = [self.transfer(cols * F32) for cols in self.cols]
        self.w_exponent = [self.transfer(cols * op.groups) for cols in self.cols]
        self.single = op.k <= self.array_k and op.n <= self.array_n
        sizes = self._plane_sizes()
        self.plane_count = sum(sizes.values())
        self.load_cycles = sum(arch.load_cycles(depth) * n for (depth, _), n in sizes.items())
        self.turns = self._turns(sizes)
        self._count_empty()
        self._parts: dict[tuple, Part] = {}
        self._planes: dict[tuple, Plane] = {}

    def _depths(self, inputs: int, width: int) -> list[int]:
        """Return the array rows of each plane over so many columns of a group of inputs."""
        if self.replays:
            return plane_depths(self.op, self.arch, inputs, width)
        return [min(self.array_k, inputs - first) for first in range(0, inputs, self.array_k)]

    def _plane_sizes(self) -> Counter[tuple[int, int]]:
        """Return how many planes there are of each number of array rows and columns."""
        groups, sizes = self.op.groups, Counter[tuple[int, int]]()
        for width, along_n in _sizes(self.op.n, self.array_n, MACRO_BLOCK).items():
            for inputs, count in zip(self.inputs, (groups - 1, 1), strict=True):
                for depth in self._depths(inputs, width):
                    sizes[depth, width] += count * along_n
        return sizes

    def _count_empty(self) -> None:
        """Count what is handed out for planes: loops turn as often in the last block or group."""
        op = self.op
        whole, last = (len(self._depths(inputs, self.array_n)) for inputs in self.inputs)
        along_k, along_n = whole, blocks(self.cols[0], self.array_n)
        missing_n = along_n - blocks(self.cols[1], self.array_n)
        missing_k = whole - last
        # A `break` where inputs end, unless planes would get into other slots (`emit.planes`).
        outer = 1 if columns_inside(op, GemmTile(2, self.array_n, self.array_k)) else along_n
        breaks = missing_k > 0 and (outer == 1 or missing_k % self.arch.weight_planes == 0)
        breaks = breaks and not self.replays
        # Clips of the planes' rows and columns, where any is cut short.
        cut = not self.replays and (missing_k > 0 or op.k % self.array_k > 0)
        self.load_tokens += cut + breaks
        self.load_tokens += missing_n > 0 or op.n % self.array_n > 0
        tokens, rest = self.load_tokens + self.plane_tokens, 0 if breaks else missing_k
        in_n = tokens * missing_n * along_k
        in_k = tokens * rest * along_n
        self.empty = ((0, in_k), (in_n, in_n + in_k))  # by block, by group
        self.issued = tokens * self.plane_count + op.groups * in_n + op.column_blocks * in_k

    def _turns(self, sizes: Counter[tuple[int, int]]) -> float:
        """Return the cycles that a row takes of all planes together, one each without outliers."""
        if not self.outliers:
            return self.plane_count
        turns = 0.0
        for shape, count in sizes.items():
            visits = plane_visits(self.op, self.arch, *self._trimmed(*shape))
            turns += count * (visits.mean_turns if visits else 1)
        return turns

    def _trimmed(self, depth: int, width: int) -> tuple[int, int]:
        """Return the array rows and columns that a plane takes."""
        arch = self.arch
        if arch.edge_trimming:
            return depth, width
        bits = WEIGHT_FORMATS[self.op.weight_format].pe_bits if self.op.weight_format else 8
        return arch.array_rows, arch.columns(bits)

    def transfer(self, size: float) -> float:
        """Return the cycles that bytes take on the channel."""
        return math.ceil(size / self.bandwidth)

    def x_group(self, rows: int) -> list[float]:
        """Return the cycles of loading a group of inputs of a tile."""
        return [self.transfer(rows * inputs * self.inside) for inputs in self.inputs]

    def x_tile(self, rows: int) -> float:
        """Return the cycles of loading all inputs of a tile."""
        return self.transfer(rows * self.op.k * self.inside)

    def x_exponent(self, rows: int) -> float:
        """Return the cycles of loading a tile's exponents; a group of an image has one."""
        return self.transfer(self.op.side_by_side if self.op.by_image else rows * self.op.groups)

    def part(self, tile: GemmTile, rows: int, narrow: bool) -> Part:
        """Return the work of a tile of so many rows, over the last columns if `narrow`."""
        key = (rows, narrow, tile.tile_m, tile.store_pieces)
        if key not in self._parts:
            self._parts[key] = self._part(tile, rows, self.cols[narrow])
        return self._parts[key]

    def _part(self, tile: GemmTile, rows: int, cols: int) -> Part:
        piece = blocks(tile.tile_m, tile.store_pieces)
        pieces = [min(piece, rows - first) for first in range(0, rows, piece)]
        stores = [self.transfer(count * cols * self.element) for count in pieces]
        if self.op.requantize:
            stores.append(self.transfer(rows))
        drain = math.ceil(rows * cols / self.lanes)
        planes = tuple(self._panel(tile, rows, inputs, cols) for inputs in self.inputs)
        residual = self.transfer(rows * cols * F32)
        empty = self.empty[cols < self.cols[0]]
        return Part(planes, empty, drain, drain * self.extra, residual, tuple(stores))

    def _panel(
        self, tile: GemmTile, rows: int, inputs: int, cols: int
    ) -> tuple[tuple[int, Plane], ...]:
        """Return the planes of a panel in order: runs of planes that are alike."""
        widths = [min(self.array_n, cols - n) for n in range(0, cols, self.array_n)]
        order = [(depth, width) for width in widths for depth in self._depths(inputs, width)]
        if columns_inside(self.op, tile):
            order = [
                (depth, width) for depth in self._depths(inputs, widths[0]) for width in widths
            ]
        runs = [(len(list(same)), shape) for shape, same in itertools.groupby(order)]
        return tuple((count, self.plane(rows, *shape)) for count, shape in runs)

    def plane(self, rows: int, depth: int, width: int) -> Plane:
        """Return the work of a plane of so many array rows and columns."""
        key = (rows, depth, width)
        if key not in self._planes:
            self._planes[key] = self._plane(*key)
        return self._planes[key]

    def _plane(self, rows: int, depth: int, width: int) -> Plane:
        op, arch = self.op, self.arch
        depth, width = self._trimmed(depth, width)
        fill, load = depth - 1 + (width - 1) // arch.skew_columns, arch.load_cycles(depth)
        late = (blocks(depth, arch.bus_rows) - 1) * arch.bus_rows
        visits = None if self.replays else plane_visits(op, arch, depth, width)
        if visits is None:
            return Plane(load, late, rows * self.row_cycles, 0, fill, 0)
        busy = (rows - 1) * visits.mean_turns + 1
        gap = visits.gap(rows, self.single, load)
        return Plane(load, late, busy, visits.delay, fill + visits.delay, gap)

    @property
    def row_cycles(self) -> int:
        """Cycles of a row: temporal PEs take their time, as nearly any plane has a weight of 2."""
        name = self.op.weight_format
        halves = self.arch.row_cycles(WEIGHT_FORMATS[name].pe_bits if name else 8)
        return max(halves, self.arch.temporal_cycles)

    def instructions(self, tile: GemmTile) -> float:
        """Return how many instructions a call has, as good as all."""
        op, tiles = self.op, blocks(self.op.m, tile.tile_m)
        outside = op.batch * op.conv_groups
        panels, results = tiles * op.column_blocks * op.groups, tiles * op.column_blocks
        outer, inner = (op.column_blocks, results) if tile.order == "columns" else (results, tiles)
        blocks_in, tiles_in = (outer, inner)
        w_uses = {"all": 1, "block": blocks_in, "group": panels}[tile.w_home]
        w_loads = {"all": op.groups * op.column_blocks, "block": blocks_in * op.groups}
        x_uses = {"all": 1, "tile": tiles_in, "group": panels}[tile.x_home]
        stage = 1 + 2 * TOKENS  # a transfer between two units
        count = tiles * self.issued
        count += panels * (1 + 2 * TOKENS)
        count += 2 * TOKENS * self.w_readers * w_uses + w_loads.get(tile.w_home, panels)
        count += stage * (x_uses + tiles_in + op.residual * results)
        count += stage * blocks_in * (not op.weight_format)
        count += op.bias * stage * (blocks_in if tile.order == "columns" else results)
        count += results * (2 * TOKENS + self.extra + tile.store_pieces + op.requantize * stage)
        return outside * count


def _ends(size: int, block: int) -> tuple[int, int]:
    """Return how many of a size are in a block before the last one, and in that."""
    return min(size, block), size - (blocks(size, block) - 1) * block


def _sizes(length: int, step: int, block: int) -> Counter[int]:
    """Return how many planes there are along an axis, by size: none straddles two blocks."""
    return Counter(
        min(step, end - first)
        for start in range(0, length, block)
        for end in [min(length, start + block)]
        for first in range(start, end, step)
    )


def _total(count: int, ends: list[float]) -> float:
    return (count - 1) * ends[0] + ends[1]


def plane_counts(op: Gemm, arch: Arch) -> tuple[int, int]:
    """Return how many planes a weight has, by inputs and by columns."""
    array_n, array_k = array_tile(op, arch)
    full_k, rest_k = divmod(op.k, op.group)
    full_n, rest_n = divmod(op.n, MACRO_BLOCK)
    return (
        full_k * blocks(op.group, array_k) + blocks(rest_k, array_k),
        full_n * blocks(MACRO_BLOCK, array_n) + blocks(rest_n, array_n),
    )


@functools.lru_cache(maxsize=1024)
def expected_panel(op: Gemm, cols: int, rows: int) -> float:
    """Return the bytes of a panel, with as many outliers as weights have on average."""
    if not op.weight_format:
        return cols * rows
    largest = largest_panel(op.weight_format, cols, rows)
    if not WEIGHT_FORMATS[op.weight_format].has_outliers:
        return largest
    return largest - 4 * blocks(cols, MICRO_BLOCK) * rows * (1 - op.flagged_share)


def inside_share(conv: Conv) -> float:
    """Return the share of an im2col matrix that isn't padding: only that is loaded."""

    def along(size, out, kernel, stride, dilation, pad):
        taps = (o * stride + k * dilation - pad for o in range(out) for k in range(kernel))
        return sum(0 <= tap < size for tap in taps) / (out * kernel)

    return along(
        conv.height, conv.out_height, conv.kernel_h, conv.stride_h, conv.dilation_h, conv.pad_top
    ) * along(
        conv.width, conv.out_width, conv.kernel_w, conv.stride_w, conv.dilation_w, conv.pad_left
    )


@functools.lru_cache(maxsize=256)
def work_of(op: Gemm, arch: Arch, way: str = RECON) -> Work:
    """Return the work of an operator on a machine, by how its outliers are multiplied."""
    return Work(op, arch, way)
