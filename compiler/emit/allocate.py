"""Places on-chip buffers: where each lives, how long, and at which address."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...target.arch import Arch
from ...target.errors import CapacityError
from ...target.isa.spec import LOOP_DEPTH, Affine, Mem
from ..tiling.nest import Buffer
from .tree import Linear, LoopNode


@dataclass
class Placed:
    """A buffer with its home loop, the loops inside it, and its address."""

    buffer: Buffer
    home: tuple[LoopNode, ...]
    slots: int
    base: int = 0


def common_path(paths: list[tuple[LoopNode, ...]]) -> tuple[LoopNode, ...]:
    """Return the loops that all paths share: there a buffer's life begins and ends."""
    shared = paths[0]
    for path in paths[1:]:
        length = 0
        while length < min(len(shared), len(path)) and shared[length] is path[length]:
            length += 1
        shared = shared[:length]
    return shared


def allocate(
    buffers: list[Buffer],
    homes: dict[str, tuple[LoopNode, ...]],
    arch: Arch,
    ring: Callable[[str], int],
    what: str,
    origin: Mapping[Mem, int],
) -> dict[str, Placed]:
    """Return every buffer with an address; those refilled in a loop get `ring(name)` slots.

    Parameters
    ----------
    origin : mapping of Mem to int
        Where in each memory the buffers start, a multiple of `ALIGNMENT`.

    Raises
    ------
    CapacityError
        With the table of live buffers, when a memory is too small.
    """
    capacity = {
        Mem.SPAD: arch.spad_bytes,
        Mem.WBUF: arch.wbuf_bytes,
        Mem.ACC: arch.acc_bytes,
        Mem.OBUF: arch.obuf_bytes,
    }
    placed, used = {}, {**dict.fromkeys(Mem, 0), **origin}
    for buffer in buffers:
        home = homes[buffer.name]
        slots = ring(buffer.name) if home else 1
        placed[buffer.name] = Placed(buffer, home, slots, used[buffer.mem])
        used[buffer.mem] += slots * buffer.slot_bytes
    full = [mem for mem in capacity if used[mem] > capacity[mem]]
    if full:
        lines = [f"{'memory':6} {'buffer':16} {'slots':>5} {'bytes':>12}"]
        for item in placed.values():
            size, name = item.slots * item.buffer.slot_bytes, item.buffer.mem.name.lower()
            lines.append(f"{name:6} {item.buffer.name:16} {item.slots:>5} {size:>12,}")
        for mem in full:
            lines.append(
                f"{mem.name.lower()} needs {used[mem]:,} bytes; {arch.name} has {capacity[mem]:,}"
            )
        raise CapacityError(f"{what} doesn't fit {arch.name}:\n  " + "\n  ".join(lines))
    return placed


def affine(
    value: Linear,
    path: tuple[LoopNode, ...],
    ring: "Placed | None" = None,
    left_out: dict[LoopNode, int] | None = None,
) -> Affine:
    """Return the operand that computes a linear value at an instruction's loops.

    With a ring it steps to the next slot in each iteration; `left_out` says how many iterations
    a `break` leaves out of a whole loop.
    """
    strides, turns = [0] * LOOP_DEPTH, [0] * LOOP_DEPTH
    for loop, step in value.terms:
        strides[path.index(loop)] += step
    if ring is None or ring.slots < 2:
        return Affine(value.base, tuple(strides))
    turn = 1
    for loop in reversed(ring.home):
        turns[path.index(loop)] = turn % ring.slots
        turn = turn * loop.extent - (left_out or {}).get(loop, 0)
    return Affine(value.base, tuple(strides), tuple(turns), ring.slots, ring.buffer.slot_bytes)


def address(placed: Placed, row: Linear, column: Linear, path: tuple[LoopNode, ...]) -> Affine:
    """Return the address of an element (global row and column) of a placed buffer."""
    inside = [loop for loop in path if loop not in placed.home]
    buffer = placed.buffer
    offset = row.within(inside) * buffer.pitch + column.within(inside) * buffer.element
    return affine(offset + placed.base, path, placed)
