"""The decisions and the loop nest of a vector operator."""

from dataclasses import dataclass

from ...target.arch import Arch
from ...target.errors import CapacityError
from ...target.isa.spec import Mem
from ...target.weight import blocks
from ..operators import CONSTANT, LOAD, Access, Value, Vector
from .nest import F32, Axis, BufferRow, Nest, Stage

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
    """Rows and columns that go through all steps together."""

    tile_rows: int
    tile_columns: int
    load_slots: int = RING
    result_slots: int = RING


def default_vector_tile(op: Vector, arch: Arch) -> VectorTile:
    """Return the tile of a vector operator: whole rows where something is reduced.

    Raises
    ------
    CapacityError
        When not even one row fits.
    """
    total = op.rows * op.columns * max(1, _product(op.outer))
    wanted = max(LEAST_ELEMENTS, total // TILES)
    columns = op.columns if op.reduces else min(op.columns, wanted)
    rows = min(op.rows, max(1, wanted // columns))
    while True:
        for slots in (LONG_RING, RING) if rows * columns < LEAST_ELEMENTS else (RING,):
            tile = VectorTile(_even(op.rows, rows), _even(op.columns, columns), slots, slots)
            if vector_nest(op, tile).footprint(slots, slots)["obuf"] <= arch.obuf_bytes:
                return tile
        if rows > 1:
            rows = rows // 2
        elif columns > 1 and not op.reduces:
            columns = columns // 2
        else:
            raise CapacityError(
                f"rows of {op.columns} numbers and {len(op.values)} values of each don't fit "
                f"{arch.name}'s output buffer ({arch.obuf_bytes:,} bytes)"
            )


def _even(extent: int, step: int) -> int:
    """Return the step that makes as many parts, all as long as can be."""
    return blocks(extent, blocks(extent, step))


def _product(sizes: tuple[int, ...]) -> int:
    found = 1
    for size in sizes:
        found *= size
    return found


def vector_nest(op: Vector, tile: VectorTile) -> Nest:
    """Return the loop nest: outer axes, tiles of rows, tiles of columns; steps in the innermost.

    A load stands at the innermost loop that moves it, so that what all tiles share is there once.
    """
    axes = {f"o{at}": Axis(f"outer {at}", extent, 1) for at, extent in enumerate(op.outer)}
    rows, columns = (
        blocks(extent, step) * step
        for extent, step in ((op.rows, tile.tile_rows), (op.columns, tile.tile_columns))
    )
    axes |= {
        "r": Axis("tiles of rows", rows, tile.tile_rows),
        "c": Axis("tiles of columns", columns, tile.tile_columns),
        "one": Axis("", 1, 1),
    }
    loops = tuple(axes)[:-1]
    places, stages, buffers = buffer_of(op), [], {}
    readers = _first_reader(op)
    for number, value in enumerate(op.values):
        name, buffer = stage_name(number), places[number]
        along = loops if value.kind != CONSTANT else ()
        home = loops[-1]
        if value.kind in (LOAD, CONSTANT):
            moved = [axis for axis in loops if axes[axis].trips > 1 and _moves(value, axis)]
            home = moved[-1] if moved else ""
        feeds = stage_name(readers[number]) if number in readers else _store_name(0)
        early = value.kind in (LOAD, CONSTANT)
        stages.append(Stage(name, along, home, buffer, feeds=feeds if early else ""))
        shape = (("r",) if value.tall else ("one",), ("c",) if value.wide else ("one",))
        row = BufferRow(
            buffer, Mem.OBUF, name, *shape, F32, result=value.kind != LOAD, alone=alone(op, number)
        )
        buffers.setdefault(buffer, row)
    for at in range(len(op.stores)):
        stages.append(Stage(_store_name(at), loops, loops[-1]))
    by_name = {stage.name: stage for stage in stages}
    return Nest(axes, loops, by_name, tuple(buffers.values()), _store_name(0), "r")


def _moves(value: Value, axis: str) -> bool:
    """Tell whether a loop changes what a load reads; none changes a constant."""
    access = value.access
    if access is None:
        return False
    strides = {"r": access.row, "c": access.column}
    return (strides[axis] if axis in strides else access.outer[int(axis[1:])]) != 0


def stage_name(number: int) -> str:
    """Return the name of the stage that makes a value."""
    return f"v{number}"


def _store_name(at: int) -> str:
    return f"store{at}"


def stores(op: Vector) -> dict[str, tuple[int, Access]]:
    """Return value and place of each store by the name of its stage."""
    return {_store_name(at): store for at, store in enumerate(op.stores)}


def _first_reader(op: Vector) -> dict[int, int]:
    found: dict[int, int] = {}
    for number, value in enumerate(op.values):
        for operand in value.operands:
            found.setdefault(operand, number)
    return found


def alone(op: Vector, number: int) -> bool:
    """Tell whether only the vector unit touches a value, so that one slot is enough."""
    value = op.values[number]
    return value.kind != LOAD and number not in {stored for stored, _ in op.stores}


def buffer_of(op: Vector) -> list[str]:
    """Return the buffer of each value: a step takes the place of a value that nobody reads again.

    Loads and what is stored keep their own, since other units fill and read them.
    """
    last = {}
    for number, value in enumerate(op.values):
        for operand in value.operands:
            last[operand] = number
    names: list[str] = []
    for number, value in enumerate(op.values):
        place = stage_name(number)
        if value.kind == "map" and alone(op, number):
            for operand in value.operands:
                given = op.values[operand]
                same = (given.tall, given.wide) == (value.tall, value.wide)
                free = last[operand] == number and alone(op, operand) and given.kind != CONSTANT
                if same and free:
                    place = names[operand]
                    break
        names.append(place)
    return names
