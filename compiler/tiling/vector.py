"""The decisions and the loop nest of a vector operator."""

import math
from dataclasses import dataclass

from ...target.arch import Arch
from ...target.errors import CapacityError
from ...target.isa.spec import Mem
from ...target.vector_operations import PARTIALS
from ...target.weight import blocks
from ..operators import CONSTANT, GATHER, LOAD, MAP, REDUCE, Part, Value, Vector
from .nest import F32, Axis, BufferRow, Nest, Stage, follow, round_up

RING, LONG_RING = 2, 6
"""Slots of a buffer between units: loads, steps and stores overlap. Small tiles need more, because
a transfer's first byte takes its time."""
TILES = 8
"""Tiles in which an operator is done at least, if they stay large: the first load and the last
store are hidden behind nothing."""
LEAST_ELEMENTS = 8192
"""Of a tile that isn't cut further for that."""


@dataclass(frozen=True)
class VectorTile:
    """Rows and columns of each part that go through all steps together."""

    parts: tuple[tuple[int, int], ...]
    load_slots: int = RING
    result_slots: int = RING


def default_vector_tile(op: Vector, arch: Arch) -> VectorTile:
    """Return the tiles of a vector operator: whole rows where something is reduced.

    Raises
    ------
    CapacityError
        When not even one row fits.
    """
    wanted = [_first(part) for part in op.parts]
    while True:
        small = max(rows * columns for rows, columns in wanted) < LEAST_ELEMENTS
        for slots in (LONG_RING, RING) if small else (RING,):
            even = tuple(
                (_even(part.rows, rows), _columns(part, columns))
                for part, (rows, columns) in zip(op.parts, wanted, strict=True)
            )
            tile = VectorTile(even, slots, slots)
            if vector_nest(op, tile).footprint(slots, slots)["obuf"] <= arch.obuf_bytes:
                return tile
        smaller = [_smaller(part, *size) for part, size in zip(op.parts, wanted, strict=True)]
        if smaller == wanted:
            part = max(op.parts, key=lambda part: part.columns)
            raise CapacityError(
                f"rows of {part.columns} numbers and {len(part.values)} values of each don't fit "
                f"{arch.name}'s output buffer ({arch.obuf_bytes:,} bytes)"
            )
        wanted = smaller


def _first(part: Part) -> tuple[int, int]:
    """Return the tile to start from: a few of them, and none small."""
    total = part.rows * part.columns * math.prod(part.outer)
    wanted = max(LEAST_ELEMENTS, total // TILES)
    columns = part.columns if part.reduces else min(part.columns, wanted)
    # A transfer of columns along two axes has no third for rows.
    rows = 1 if part.near < part.columns else max(1, wanted // columns)
    return min(part.rows, rows), columns


def _smaller(part: Part, rows: int, columns: int) -> tuple[int, int]:
    if rows > 1:
        return rows // 2, columns
    if part.reduces and not part.in_pieces:
        return rows, columns
    return rows, max(PARTIALS if part.reduces else 1, columns // 2)


def _even(extent: int, step: int) -> int:
    """Return the step that makes as many tiles, all as long as can be."""
    return blocks(extent, blocks(extent, step))


def _columns(part: Part, columns: int) -> int:
    """Return the columns of a tile; pieces of a row that is summed are whole turns of its sums."""
    even = _even(part.columns, columns)
    return even if even == part.columns or not part.reduces else round_up(even, PARTIALS)


def vector_nest(op: Vector, tile: VectorTile) -> Nest:
    """Return the loop nests of the parts, one after the other."""
    nests = tuple(
        _part_nest(part, *size, at)
        for at, (part, size) in enumerate(zip(op.parts, tile.parts, strict=True))
    )
    return nests[0] if len(nests) == 1 else follow(nests)


def _part_nest(part: Part, tile_rows: int, tile_columns: int, at: int) -> Nest:
    """Return the loops: outer axes, tiles of rows, tiles of columns; steps in the innermost.

    A load stands at the innermost loop that moves it, so that what all tiles share is there once.
    Of rows in pieces, what needs a whole one stands behind the loop over pieces.
    """
    names = Names(part, at)
    loops = (*(names.axis(f"o{place}") for place in range(len(part.outer))), *names.tile)
    axes = {
        loop: Axis(f"outer {n}", extent, 1)
        for n, (loop, extent) in enumerate(zip(loops, part.outer, strict=False))
    }
    row, column = names.tile
    axes[row] = Axis("tiles of rows", blocks(part.rows, tile_rows) * tile_rows, tile_rows)
    columns = blocks(part.columns, tile_columns) * tile_columns
    axes[column] = Axis("tiles of columns", columns, tile_columns)
    one = names.axis("one")
    axes[one] = Axis("", 1, 1)
    axes[names.axis("sums")] = Axis("", PARTIALS, PARTIALS)
    cut = part.reduces and axes[column].trips > 1
    late = part.behind_reductions() if cut else set()
    stages: list[Stage] = []
    buffers: dict[str, BufferRow] = {}
    readers = part.first_readers()
    # Without pieces all is in the order of the values.
    for number, value in sorted(enumerate(part.values), key=lambda each: each[0] in late):
        home, feeds = loops[-2] if cut and not value.wide else loops[-1], ""
        if number in late and value.kind == REDUCE:
            sums = names.sums(number)
            stages.append(Stage(sums, (*loops, names.axis("sums")), loops[-1], sums))
            buffers[sums] = BufferRow(
                sums, Mem.OBUF, sums, (row,), (names.axis("sums"),), F32, result=True, alone=True
            )
        if value.kind in (LOAD, CONSTANT):
            moved = [loop for loop in loops if axes[loop].trips > 1 and names.moves(value, loop)]
            home = moved[-1] if moved else ""
            feeds = names.stage(readers[number]) if number in readers else names.store(0)
        along = loops if value.kind != CONSTANT else ()
        stages.append(Stage(names.stage(number), along, home, names.buffers[number], feeds=feeds))
        buffers.setdefault(
            names.buffers[number],
            BufferRow(
                names.buffers[number],
                Mem.OBUF,
                names.stage(number),
                (row if value.tall else one,),
                (column if value.wide else one,),
                F32,
                result=value.kind not in (LOAD, GATHER),
                alone=_alone(part, number),
            ),
        )
    for number, (value_number, _) in enumerate(part.stores):
        whole = cut and not part.values[value_number].wide
        stages.append(Stage(names.store(number), loops, loops[-2] if whole else loops[-1]))
    by_name = {stage.name: stage for stage in stages}
    core = names.sums(min(late)) if cut else names.store(0)
    return Nest(axes, loops, by_name, tuple(buffers.values()), core, row)


class Names:
    """What axes, stages and buffers of a part are called among those of all parts."""

    def __init__(self, part: Part, at: int):
        self.part, self.prefix = part, f"p{at}_"
        self.tile = (self.axis("r"), self.axis("c"))
        self.buffers = [self.stage(number) for number in _places(part)]

    def axis(self, name: str) -> str:
        """Return an axis: `o0`, `o1` and so on for the outer ones, `r` and `c`."""
        return self.prefix + name

    def stage(self, number: int) -> str:
        """Return the stage that makes a value."""
        return f"{self.prefix}v{number}"

    def sums(self, number: int) -> str:
        """Return the stage, and the buffer, of a reduction's partial results."""
        return f"{self.prefix}sums{number}"

    def store(self, number: int) -> str:
        """Return the stage of a store."""
        return f"{self.prefix}store{number}"

    def moves(self, value: Value, loop: str) -> bool:
        """Tell whether a loop changes what a load reads; none changes a constant."""
        access, name = value.access, loop.removeprefix(self.prefix)
        if access is None:
            return False
        strides = {"r": access.row, "c": access.column or access.far}
        return (strides[name] if name in strides else access.outer[int(name[1:])]) != 0


def _alone(part: Part, number: int) -> bool:
    """Tell whether only the vector unit touches a value, so that one slot is enough."""
    shared = {value for value, _ in part.stores}
    shared |= {value.operands[0] for value in part.values if value.kind == GATHER}
    return part.values[number].kind not in (LOAD, GATHER) and number not in shared


def _places(part: Part) -> list[int]:
    """Return whose buffer each value is in: a step takes the place of what nobody reads again.

    Loads and what is stored keep their own, since other units fill and read them.
    """
    last = {operand: n for n, value in enumerate(part.values) for operand in value.operands}
    places: list[int] = []
    for number, value in enumerate(part.values):
        free = [
            operand
            for operand in value.operands
            if last[operand] == number
            and _alone(part, operand)
            and part.values[operand].kind != CONSTANT
            and (part.values[operand].tall, part.values[operand].wide) == (value.tall, value.wide)
        ]
        takes = value.kind == MAP and _alone(part, number) and free
        places.append(places[free[0]] if takes else number)
    return places
