"""A walk through the loops of a tile: when each unit of the machine works, by a recurrence.

It follows the program that the tile becomes: loads, planes, drains and stores in the order of their
loops, each from the first cycle at which its unit is free, its operands are there and its place is.
Units work in order, the sequencer hands out an instruction a cycle as far as queues have room, and
what depends on weights is their average. A loop's turns take equally long once its rings have gone
round: one turn of the rings is walked and stands for the others, and the last turn is walked.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ...target.arch import Arch
from ...target.formats import MICRO_BLOCK
from ...target.weight import blocks
from ..operators import Gemm
from .tile import GemmTile
from .work import TOKENS, Plane, work_of

LOADED = TOKENS + 1
"""Instructions of a unit that moves data from or to another one's."""


@dataclass(frozen=True)
class Walked:
    """Cycles of a call, and those at which its first row streams and its last sum is there."""

    cycles: float
    first: float
    last: float


class _Queue:
    """When the instructions started that a unit was given: runs of them, evenly spaced."""

    def __init__(self, depth: int):
        self.depth, self.given = depth, 0
        self.runs: deque[tuple[int, int, float, float]] = deque()

    def push(self, count: int, first: float, last: float) -> float:
        """Add a run; return when the queue has room again: an instruction leaves as it starts."""
        self.given += count
        runs, wanted = self.runs, self.given - self.depth
        runs.append((self.given, count, first, last))
        if wanted <= 0:
            return 0.0
        while runs[0][0] < wanted:
            runs.popleft()
        end, count, first, last = runs[0]
        if first == last:
            return last
        return last - (last - first) * (end - wanted) / (count - 1)


def _ring(slots: int) -> deque[float]:
    """Return when the slots of a buffer become free, the next one first."""
    return deque([0.0] * slots, maxlen=slots)


class _Walk:
    """The clocks of the units. Stages are named as in `emit`, loops by what they walk over."""

    def __init__(self, op: Gemm, tile: GemmTile, arch: Arch):
        self.op, self.tile, self.arch = op, tile, arch
        self.work = work = work_of(op, arch, tile.outliers)
        self.tick, self.latency = arch.sequencer_cycles, arch.dram_latency_cycles
        self.tiles = blocks(op.m, tile.tile_m)
        rows = (min(tile.tile_m, op.m), op.m - (self.tiles - 1) * tile.tile_m)
        self.parts = [[work.part(tile, count, last) for last in (False, True)] for count in rows]
        self.x_tile = [work.x_tile(count) for count in rows]
        self.x_group = [work.x_group(count) for count in rows]
        self.x_exponent_tile = [work.x_exponent(count) for count in rows]
        # Clips of ragged tiles: their rows and those of each piece that is stored.
        self.clips = (1 + tile.store_pieces) * (op.m % tile.tile_m != 0)
        self.clock = 0.0  # of the sequencer
        self.load_free = self.store_free = self.wload_free = self.vector_free = 0.0
        self.array_free = self.array_read = self.array_done = 0.0
        self.stores: deque[tuple[float, float]] = deque()  # those that a load may meet
        queues = [_Queue(arch.queue_depth) for _ in range(3)]
        self.load_queue, self.array_queue, self.vector_queue = queues
        loads, results = tile.load_slots, tile.result_slots
        self.x, self.x_exponent, self.w = _ring(loads), _ring(loads), _ring(loads)
        self.w_exponent, self.bias, self.residual = _ring(loads), _ring(loads), _ring(loads)
        self.acc, self.y, self.planes = _ring(results), _ring(results), _ring(arch.weight_planes)
        # Planes of a run that are walked: they take turns.
        self.few = arch.weight_planes + 2
        self.x_there = self.w_there = self.scales_there = self.drained = 0.0
        self.exponents_there = 0.0
        self.rows_there = 0.0
        self.short = self.narrow = False
        self.round = max(loads, results)
        self.rates: dict[tuple, float] = {}
        self.skipped, self.first = 0.0, -1.0

    def run(self) -> Walked:
        op = self.op
        # A `sem` for each buffer that is shared, and the clips outside of all loops.
        self.clock = self.tick * (12 + op.bias + op.residual + 2 * self.work.w_readers)
        self.repeat("call", op.batch * op.conv_groups, self.call)
        end = max(self.vector_free, self.store_free + self.latency, self.array_done, self.clock)
        return Walked(end + self.skipped, self.first, self.array_done + self.skipped)

    def repeat(self, name: str, turns: int, body: Callable[[bool], None]) -> None:
        """Walk a loop; its body is told whether it's the last turn."""
        key = (name, self.short, self.narrow)
        rate = self.rates.get(key)
        # A loop that was walked before goes on as it did; at first the rings are empty.
        few = 1 + (self.round if rate is None else 0)
        if turns <= few + 1:
            for turn in range(turns):
                body(turn == turns - 1)
            return
        body(False)
        if rate is None:
            start = self.reached(name)
            for _ in range(self.round):
                body(False)
            rate = self.rates[key] = (self.reached(name) - start) / self.round
        self.skipped += (turns - few - 1) * rate
        body(True)

    def reached(self, loop: str) -> float:
        """Return when the last unit of a loop's turn is done: groups of inputs store nothing."""
        return (self.vector_free if loop == "groups" else self.store_free) + self.skipped

    def hand_out(self, queue: _Queue, count: int, first: float, last: float, done: float) -> None:
        """Let the sequencer give a unit instructions that start from `first` to `last`."""
        self.clock = max(self.clock + count * self.tick, queue.push(count, first, last))
        if not self.arch.overlap:
            self.clock = max(self.clock, done)

    def load(
        self, ring: deque[float], cycles: float, readers: int = 1, transfers: int = 1
    ) -> float:
        """Load the next slot of a buffer; return when the data are there."""
        start = max(self.load_free, self.clock, ring[0])
        if self.stores:
            start = self.meet_stores(start, cycles)
        self.load_free = start + cycles
        there = self.load_free + self.latency
        self.hand_out(self.load_queue, transfers + TOKENS * readers, start, start, there)
        self.clock += TOKENS * readers * self.tick  # of those who read
        return there

    def meet_stores(self, start: float, cycles: float) -> float:
        """Wait for the store that is under way, and make those behind wait for the load."""
        stores = self.stores
        while stores and stores[0][1] <= start:
            stores.popleft()
        if stores and stores[0][0] < start:
            start = stores.popleft()[1]
        end = start + cycles
        for number, (begin, until) in enumerate(stores):
            if begin >= end:
                return start
            stores[number] = (end, end + until - begin)
            end = stores[number][1]
        if stores:
            self.store_free = max(self.store_free, end)
        return start

    def call(self, _last: bool) -> None:
        op, tile, work = self.op, self.tile, self.work
        if tile.w_home == "all":
            panels = op.groups * op.column_blocks if op.weight_format else 1
            self.w_there = self.load(self.w, work.w_all, work.w_readers, panels)
        if tile.x_home == "all":
            self.x_there = self.load(self.x, work.x_all)
        if tile.order == "columns":
            self.repeat("columns", op.column_blocks, self.columns)
        else:
            self.repeat("rows", self.tiles, self.rows)
        if tile.w_home == "all":
            self.release_w()
        if tile.x_home == "all":
            self.x.append(self.array_read)

    def columns(self, last: bool) -> None:
        op, tile, work = self.op, self.tile, self.work
        self.narrow = last
        if tile.w_home == "block":
            panels = op.groups if op.weight_format else 1
            self.w_there = self.load(self.w, work.w_block[last], work.w_readers, panels)
        exponents = not (op.weight_format or op.integers)
        if exponents:
            self.scales_there = self.load(self.w_exponent, work.w_exponent[last])
        bias = op.bias and tile.order == "columns"
        if bias:
            self.scales_there = self.load(self.bias, work.bias[last])
        if tile.order == "columns":
            self.repeat("rows", self.tiles, self.rows)
        else:
            self.result()
        if tile.w_home == "block":
            self.release_w()
        if exponents:
            self.w_exponent.append(self.drained)
        if bias:
            self.bias.append(self.vector_free)

    def rows(self, last: bool) -> None:
        tile = self.tile
        self.short = last
        self.clock += self.clips * self.tick
        if tile.x_home == "tile":
            self.x_there = self.load(self.x, self.x_tile[last])
        if not self.op.integers:
            self.exponents_there = self.load(self.x_exponent, self.x_exponent_tile[last])
        if tile.order == "columns":
            self.result()
        else:
            self.repeat("columns", self.op.column_blocks, self.columns)
        if tile.x_home == "tile":
            self.x.append(self.array_read)
        if not self.op.integers:
            self.x_exponent.append(self.drained)

    def result(self) -> None:
        """Walk a tile of results: its groups of inputs, and what follows them."""
        op, work = self.op, self.work
        there = max(self.y[0], self.exponents_there, self.scales_there)
        self.vector_free = max(self.vector_free, there)
        self.repeat("groups", op.groups, self.group)
        self.drained = self.vector_free
        part, there = self.parts[self.short][self.narrow], 0.0
        if op.bias and self.tile.order == "rows":
            there = self.load(self.bias, work.bias[self.narrow])
            self.bias.append(max(self.vector_free, there) + part.drain)
        if op.residual:
            there = self.load(self.residual, part.residual)
            self.residual.append(max(self.vector_free, there) + part.drain * (1 + op.bias))
        start = max(self.vector_free, there, self.clock)
        self.vector_free = start + part.finish
        ready = self.vector_free + self.arch.vector_latency_cycles
        self.hand_out(self.vector_queue, TOKENS + work.extra, start, self.vector_free, ready)
        for busy in part.stores:
            start = max(self.store_free, ready, self.clock)
            self.store_free = start + busy
            self.stores.append((start, self.store_free))
            self.clock += self.tick
            if not self.arch.overlap:
                self.clock = self.store_free + self.latency
        self.clock += TOKENS * self.tick
        self.y.append(self.store_free)

    def group(self, last: bool) -> None:
        """Walk a panel: its loads, its planes, and the drain of its sums."""
        tile, work = self.tile, self.work
        part = self.parts[self.short][self.narrow]
        inside, packed = tile.w_home == "group", bool(self.op.weight_format)
        if inside:
            cycles = work.w_panel[last][self.narrow]
            self.w_there = self.load(self.w, cycles, work.w_readers)
        if tile.x_home == "group":
            self.x_there = self.load(self.x, self.x_group[self.short][last])
        self.products(part.planes[last])
        self.clock += part.empty[last] * self.tick
        start = max(self.vector_free, self.array_done, self.clock)
        if packed:
            start = max(start, self.w_there)
        self.vector_free = start + part.drain
        count = LOADED + TOKENS * (inside and packed)
        self.hand_out(self.vector_queue, count, start, start, self.vector_free)
        self.acc.append(self.vector_free)
        if tile.x_home == "group":
            self.x.append(self.array_read)
        if inside:
            self.release_w()

    def release_w(self) -> None:
        # A drain reads scales beside the panel.
        self.w.append(self.vector_free if self.op.weight_format else self.wload_free)

    def products(self, planes: tuple[tuple[int, Plane], ...]) -> None:
        """Stream a tile through the planes of a panel."""
        self.array_free = max(self.array_free, self.x_there, self.acc[0])
        self.wload_free = max(self.wload_free, self.w_there)
        for count, plane in planes:
            starts = [self.plane(plane) for _ in range(min(count, self.few))]
            last, turns = starts[-1], self.arch.weight_planes
            if count > self.few:
                jump = (count - self.few) * (last - starts[-1 - turns]) / turns
                last += jump
                self.array_free += jump
                self.array_read += jump
                self.array_done += jump
                self.wload_free += jump
                self.planes = deque((free + jump for free in self.planes), maxlen=turns)
                self.rows_there += jump
                self.clock += (count - self.few) * self.work.load_tokens * self.tick
            given = count * self.work.plane_tokens
            self.hand_out(self.array_queue, given, starts[0], last, self.array_done)

    def plane(self, plane: Plane) -> float:
        """Load a plane and stream rows through it; return when they start."""
        self.clock += self.work.load_tokens * self.tick
        begin = max(self.wload_free, self.planes[0], self.clock)
        self.wload_free = begin + plane.load
        start = max(self.array_free, self.wload_free, self.clock)
        if self.arch.row_release:
            # Rows are there one by one: behind those of the loads before on the same bus, and
            # behind the activations of the matmul before, a micro-block later.
            behind = MICRO_BLOCK // self.arch.skew_columns
            self.rows_there = max(self.rows_there + plane.load, self.planes[0] + behind)
            start = max(self.array_free, self.clock, self.rows_there, begin + 1)
        if self.first < 0:
            self.first = start
        end = start + plane.busy
        self.array_free = end + plane.gap
        self.array_read = end + plane.hold
        self.array_done = end + plane.latency
        self.planes.append(end if self.arch.row_release else self.array_read + plane.late)
        if not self.arch.overlap:
            self.clock = self.array_done
        return start


def walk(op: Gemm, tile: GemmTile, arch: Arch) -> Walked:
    """Return when a call is done, estimated for a tile on a machine."""
    return _Walk(op, tile, arch).run()
