"""A loop nest as a table: the loops, where each stage stands, what it covers and fills.

The expression's shapes, the schedule's places, the tree that is emitted, the buffers and what they
take of each memory all follow from it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...target.isa.spec import Mem
from ...target.weight import blocks

F32, I32 = 4, 4
"""Bytes of an element."""
ALIGNMENT = 4
"""fp32 and int32 accesses on the chip are aligned."""


MEMORIES = {mem: mem.name.lower() for mem in Mem}


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of a step that is not below the value."""
    return blocks(value, step) * step


class Axis(NamedTuple):
    """What a loop walks over, or what lies within a tile.

    Attributes
    ----------
    label : str
        For listings; empty where there's no loop.
    extent : int
        All of it, padded to whole steps.
    step : int
        What one iteration of its loop covers.
    """

    label: str
    extent: int
    step: int

    @property
    def trips(self) -> int:
        return self.extent // self.step


@dataclass(frozen=True)
class Stage:
    """One block of the expression.

    Attributes
    ----------
    axes : tuple of str
        Of its tile, in the order of its indices.
    home : str
        The innermost loop around it.
    buffer : str
        The buffer on the chip that it fills; empty for what goes off the chip.
    reduced : int
        How many of its last axes it sums over: its result doesn't have them.
    feeds : str
        Of a load, the stage that reads it.
    """

    name: str
    axes: tuple[str, ...]
    home: str
    buffer: str = ""
    reduced: int = 0
    feeds: str = ""


@dataclass(frozen=True)
class BufferRow:
    """What a buffer holds of each axis; as much as the stage that fills it covers.

    Attributes
    ----------
    filler : str
        The stage at whose home its life begins.
    pitch : int
        Bytes of a row that are no product of axes, as of a packed panel; 0 otherwise.
    result : bool
        Computing fills it, not a load.
    alone : bool
        The unit that fills it is the only one to read it: it needs no second slot.
    """

    name: str
    memory: Mem
    filler: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    element: int = 1
    pitch: int = 0
    result: bool = False
    alone: bool = False


class Buffer(NamedTuple):
    """A tile on the chip: rows of `pitch` bytes; the tile of one iteration of its loop."""

    name: str
    mem: Mem
    rows: int
    pitch: int
    element: int = 1

    @property
    def slot_bytes(self) -> int:
        return round_up(self.rows * self.pitch, ALIGNMENT)


@dataclass(frozen=True, eq=False)
class Nest:
    """The loops of an operator from the outermost on, its stages in order, and its buffers.

    Attributes
    ----------
    axes : dict of str to Axis
    stages : dict of str to Stage
        By name, in the order in which they are computed.
    core : str
        The stage of the innermost loops: what stands before it in the table is computed before it.
    row_axis : str
        The axis of the rows that one tile streams.
    parts : tuple of Nest
        Of nests that follow each other: these, and nothing of its own but their tables together.
    """

    axes: dict[str, Axis]
    loops: tuple[str, ...]
    stages: dict[str, Stage]
    buffers: tuple[BufferRow, ...]
    core: str
    row_axis: str
    parts: tuple["Nest", ...] = ()

    @property
    def tile_rows(self) -> int:
        """Rows that one tile streams."""
        return self.axes[self.row_axis].step

    def depth(self, stage: str) -> int:
        """Return how many loops are around a stage."""
        home = self.stages[stage].home
        return self.loops.index(home) + 1 if home else 0

    def box(self, stage: str) -> tuple[int, ...]:
        """Return how far a stage's tile reaches along its axes."""
        around = self.loops[: self.depth(stage)]
        return tuple(self._covered(axis, around) for axis in self.stages[stage].axes)

    def _covered(self, axis: str, around: tuple[str, ...]) -> int:
        """Return how much of an axis is covered inside of some loops, at most."""
        return int(self.axes[axis].step if axis in around else self.axes[axis].extent)

    def shape(self, stage: str) -> tuple[int, ...]:
        """Return the shape of a stage's result, over all tiles."""
        row = self.stages[stage]
        kept = row.axes[: len(row.axes) - row.reduced]
        return tuple(self.axes[axis].extent for axis in kept)

    def trips(self, stage: str) -> int:
        """Return how often a stage's tile is computed or loaded."""
        return math.prod(self.axes[axis].trips for axis in self.loops[: self.depth(stage)])

    def placed(self) -> Iterator[tuple[BufferRow, Buffer]]:
        """Yield each buffer that a stage fills, with its size."""
        for part in self.parts:
            yield from part.placed()
        if self.parts:
            return
        for row in self.buffers:
            if row.filler not in self.stages:
                continue
            around = self.loops[: self.depth(row.filler)]
            rows, pitch = 1, row.element
            for axis in row.rows:
                rows *= self._covered(axis, around)
            for axis in row.columns:
                pitch *= self._covered(axis, around)
            yield row, Buffer(row.name, row.memory, rows, row.pitch or pitch, row.element)

    def footprint(self, load_slots: int, result_slots: int) -> dict[str, int]:
        """Return the bytes of each memory that the buffers take, with so many slots each."""
        need = dict.fromkeys(MEMORIES, 0)
        for part in self.parts:
            for memory, size in part.footprint(load_slots, result_slots).items():
                need[Mem[memory.upper()]] += size
        if self.parts:
            return {MEMORIES[memory]: size for memory, size in need.items()}
        # How often a loop's body is run in all, from the outermost on.
        trips = [1]
        for axis in self.loops:
            trips.append(trips[-1] * self.axes[axis].trips)
        for row, buffer in self.placed():
            # What is filled once needs no second slot.
            slots = result_slots if row.result else load_slots
            slots = slots if trips[self.depth(row.filler)] > 1 and not row.alone else 1
            need[row.memory] += slots * buffer.slot_bytes
        return {MEMORIES[memory]: size for memory, size in need.items()}


def follow(nests: tuple[Nest, ...]) -> Nest:
    """Return nests that follow each other as one, whose names are all different."""
    axes = {name: axis for nest in nests for name, axis in nest.axes.items()}
    stages = {name: stage for nest in nests for name, stage in nest.stages.items()}
    buffers = tuple(buffer for nest in nests for buffer in nest.buffers)
    first = nests[0]
    return Nest(axes, (), stages, buffers, first.core, first.row_axis, nests)
