"""Instructions of a vector operator: loads, constants, steps, stores."""

from collections.abc import Callable
from functools import partial

from ...target.isa import instructions as isa
from ...target.isa.program import Argument
from ...target.isa.spec import Affine, Mem, Unit
from ...target.vector_operations import OPERATIONS, REDUCTIONS
from ..operators import CONSTANT, LOAD, MAP, REDUCE, Access, Value, Vector
from ..tiling.nest import F32
from ..tiling.vector import buffer_of, stage_name, stores
from .allocate import affine
from .loads import ZERO
from .state import Emitter, Lowered, Op
from .tree import Linear, StageNode


def lower_vector(emitter: Emitter, _weights: bytes) -> Lowered:
    """Return arguments, buffers and stage emitters of a vector operator."""
    op: Vector = emitter.operator
    inputs = len(op.arguments) - op.outputs
    arguments = tuple(
        Argument(f"out{at - inputs}" if at >= inputs else f"in{at}", "float32", shape, at >= inputs)
        for at, shape in enumerate(op.arguments)
    )
    places = buffer_of(op)
    make = {LOAD: _load, CONSTANT: _constant, MAP: _map, REDUCE: _reduce}
    stages: dict[str, Callable] = {
        stage_name(number): partial(make[value.kind], op, places, number)
        for number, value in enumerate(op.values)
    }
    for name, (value, access) in stores(op).items():
        stages[name] = partial(_store, op, places, value, access)
    return Lowered(arguments, tuple(buffer for _, buffer in emitter.nest.placed()), stages)


def _extents(emitter: Emitter, op: Vector, value: Value, stage: StageNode) -> dict[str, int]:
    """Return the extent registers of a value's rows and columns in this tile."""
    tile = emitter.tile
    one = emitter.clip(1, 1, ZERO) if not (value.tall and value.wide) else 0
    return {
        "rows": emitter.clip(tile.tile_rows, op.rows, _start(stage, "r")) if value.tall else one,
        "cols": emitter.clip(tile.tile_columns, op.columns, _start(stage, "c"))
        if value.wide
        else one,
    }


def _start(stage: StageNode, axis: str) -> Linear:
    return stage[axis] if axis in stage.axes else ZERO


def _place(access: Access, stage: StageNode) -> Linear:
    """Return the offset in bytes of a tile's first element."""
    place = Linear(access.offset)
    for at, stride in enumerate(access.outer):
        place = place + _start(stage, f"o{at}") * stride
    place = place + _start(stage, "r") * access.row + _start(stage, "c") * access.column
    return place * F32


def _at(emitter: Emitter, places: list[str], number: int, stage: StageNode, path) -> Affine:
    value = emitter.operator.values[number]
    row = _start(stage, "r") if value.tall else ZERO
    column = _start(stage, "c") if value.wide else ZERO
    return emitter.at(places[number], row, column, path)


def _load(op: Vector, places: list[str], number: int, stage: StageNode):
    value = op.values[number]
    access = value.access
    assert access is not None

    def build(emitter, path):
        return isa.DmaLoad(
            mem=Mem.OBUF,
            dst=_at(emitter, places, number, stage, path),
            dst_pitch=emitter.pitch(places[number]),
            arg=access.argument,
            src=affine(_place(access, stage), path),
            src_pitch=access.row * F32,
            src_step=access.column * F32,
            element=F32,
            **_extents(emitter, op, value, stage),
        )

    return [Op(Unit.DMA_IN, (), (places[number],), build, note=f"in{access.argument}")]


def _constant(op: Vector, places: list[str], number: int, stage: StageNode):
    value = op.values[number]

    def build(emitter, path):
        return isa.Fill(
            dst=_at(emitter, places, number, stage, path),
            dst_pitch=F32,
            value=value.number,
            **_extents(emitter, op, value, stage),
        )

    return [Op(Unit.VECTOR, (), (places[number],), build, note="a constant")]


def _map(op: Vector, places: list[str], number: int, stage: StageNode):
    value = op.values[number]

    def build(emitter, path):
        given = {}
        for name, operand in zip("abc", value.operands, strict=False):
            each = op.values[operand]
            given[name] = _at(emitter, places, operand, stage, path)
            given[f"{name}_pitch"] = emitter.pitch(places[operand]) if each.tall else 0
            given[f"{name}_step"] = F32 if each.wide else 0
        for name in "abc"[len(value.operands) :]:
            given |= {name: Affine(), f"{name}_pitch": 0, f"{name}_step": 0}
        return isa.Map(
            operation=OPERATIONS[value.operation].code,
            dst=_at(emitter, places, number, stage, path),
            dst_pitch=emitter.pitch(places[number]),
            **given,
            **_extents(emitter, op, value, stage),
        )

    reads = tuple(dict.fromkeys(places[operand] for operand in value.operands))
    return [Op(Unit.VECTOR, reads, (places[number],), build, note=value.operation)]


def _reduce(op: Vector, places: list[str], number: int, stage: StageNode):
    value = op.values[number]
    (operand,) = value.operands

    def build(emitter, path):
        return isa.Reduce(
            operation=REDUCTIONS[value.operation].code,
            dst=_at(emitter, places, number, stage, path),
            dst_pitch=emitter.pitch(places[number]),
            src=_at(emitter, places, operand, stage, path),
            src_pitch=emitter.pitch(places[operand]),
            **_extents(emitter, op, op.values[operand], stage),
        )

    return [Op(Unit.VECTOR, (places[operand],), (places[number],), build, note=value.operation)]


def _store(op: Vector, places: list[str], number: int, access: Access, stage: StageNode):
    value = op.values[number]

    def build(emitter, path):
        return isa.DmaStore(
            arg=access.argument,
            dst=affine(_place(access, stage), path),
            dst_pitch=access.row * F32,
            dst_step=access.column * F32,
            mem=Mem.OBUF,
            src=_at(emitter, places, number, stage, path),
            src_pitch=emitter.pitch(places[number]),
            element=F32,
            **_extents(emitter, op, value, stage),
        )

    return [Op(Unit.DMA_OUT, (places[number],), (), build, note=f"argument {access.argument}")]
