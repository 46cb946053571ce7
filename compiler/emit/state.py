"""What emission works on: ops that know their unit and buffers, and the state they read."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...target.arch import Arch
from ...target.errors import IsaError
from ...target.isa.program import Argument
from ...target.isa.spec import EXTENT_REGISTERS, SEMAPHORES, Affine, Instruction, Mem, Unit
from ..symbolic import Symbolic
from ..tiling.nest import Buffer, Nest
from .allocate import Placed, address
from .tree import Linear, LoopNode

Build = Callable[["Emitter", tuple[LoopNode, ...]], Instruction]


@dataclass(eq=False)
class Op:
    """One instruction to be: its unit, the buffers it touches, and how to write it."""

    unit: Unit
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    build: Build
    loops: tuple[LoopNode, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class ScheduledTree:
    """A scheduled operator: its decisions, the table of its stages, and its loops and stages.

    Attributes
    ----------
    operator, tile : Any
        An operator and its decisions; each kind's lowering knows its own.
    """

    operator: Any
    tile: Any
    nest: Nest
    root: LoopNode


@dataclass
class Lowered:
    """What an operator kind gives the emitter: arguments, buffers and the ops of a stage.

    Attributes
    ----------
    whole : dict of int to dict of str to int
        Arguments that may stay on the chip as a whole, as dense as in DRAM: the buffers that are
        then tiles of it where it lies, with the bytes between their rows.
    """

    arguments: tuple[Argument, ...]
    buffers: tuple[Buffer, ...]
    stages: dict[str, Callable]
    whole: dict[int, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """Where on the chip an operator has its buffers.

    Attributes
    ----------
    origin : mapping of Mem to int
        Where those start that it has for itself.
    kept : mapping of int to int
        Arguments that lie on the chip as a whole, and where.
    stored : frozenset of int
        Of the results among them, those that go off the chip, too.
    """

    origin: Mapping[Mem, int] = field(default_factory=dict)
    kept: Mapping[int, int] = field(default_factory=dict)
    stored: frozenset[int] = frozenset()


@dataclass
class Emitter:
    """State of one emission.

    Attributes
    ----------
    kept : frozenset of str
        Buffers that are tiles of what lies on the chip as a whole.
    """

    operator: Any
    arch: Arch
    name: str
    nest: Nest
    tile: Any
    placed: dict[str, Placed] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    extents: dict[tuple, int] = field(default_factory=dict)
    semaphores: list[int] = field(default_factory=list)
    pairs: dict[tuple, list[tuple[int, int]]] = field(default_factory=dict)
    taken: Counter[tuple] = field(default_factory=Counter)

    @property
    def tile_rows(self) -> int:
        """Rows that one tile streams."""
        return self.nest.tile_rows

    def at(self, buffer: str, row: Linear, column: Linear, path) -> Affine:
        """Return the address operand of an element of a buffer."""
        return address(self.placed[buffer], row, column, path)

    def pitch(self, buffer: str) -> int:
        return self.placed[buffer].buffer.pitch

    def clip(self, tile: int, limit: int, start: Linear) -> int:
        """Return the extent register that holds min(tile, limit - start)."""
        last = start.base + sum(step * (loop.extent - 1) for loop, step in start.terms)
        rest = limit - (last + tile)
        if rest >= 0 and not isinstance(rest, Symbolic):
            start = Linear()  # never ragged: one clip outside the loops serves
        key = (tile, limit, start)
        if key not in self.extents:
            if len(self.extents) == EXTENT_REGISTERS:
                raise IsaError(f"{self.name}: more than {EXTENT_REGISTERS} extents are needed")
            self.extents[key] = len(self.extents)
        return self.extents[key]

    def pair(self, producer: Unit, consumer: Unit, slots: int, nest: int) -> tuple[int, int]:
        """Return the semaphores of a buffer's free and filled slots.

        Nests follow each other, and a unit takes them in order: those of one nest, which are as
        they were when it's done, serve the next.
        """
        pairs = self.pairs.setdefault((producer, consumer, slots), [])
        mine = (producer, consumer, slots, nest)
        if self.taken[mine] == len(pairs):
            pairs.append((self.semaphore(slots), self.semaphore(0)))
        self.taken[mine] += 1
        return pairs[self.taken[mine] - 1]

    def semaphore(self, count: int) -> int:
        """Return a new semaphore with its first count."""
        if len(self.semaphores) == SEMAPHORES:
            raise IsaError(f"{self.name}: more than {SEMAPHORES} semaphores are needed")
        self.semaphores.append(count)
        return len(self.semaphores) - 1
