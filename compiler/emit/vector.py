"""Instructions of a vector operator: loads, constants, steps, stores."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ...target.conversions import CONVERSIONS
from ...target.isa import instructions as isa
from ...target.isa.program import DTYPES, Argument
from ...target.isa.spec import Affine, Mem, Unit
from ...target.vector_operations import OPERATIONS, PARTIALS, REDUCTIONS
from ..operators import CONSTANT, GATHER, LOAD, MAP, REDUCE, Access, Part, Value, Vector
from ..tiling.nest import F32
from ..tiling.vector import Names
from .allocate import affine
from .loads import ZERO
from .state import Emitter, Lowered, Op
from .tree import Linear, StageNode


def lower_vector(emitter: Emitter, _weights: bytes) -> Lowered:
    """Return arguments, buffers and stage emitters of a vector operator."""
    op: Vector = emitter.operator
    inputs = len(op.arguments) - op.outputs
    arguments = tuple(
        Argument(f"out{at - inputs}" if at >= inputs else f"in{at}", dtype, shape, at >= inputs)
        for at, (shape, dtype) in enumerate(zip(op.arguments, op.dtypes, strict=True))
    )
    stages: dict[str, Callable] = {}
    for at, part in enumerate(op.parts):
        stages |= _Part(op.dtypes, part, emitter.tile.parts[at], Names(part, at)).stages()
    buffers = tuple(buffer for _, buffer in emitter.nest.placed())
    return Lowered(arguments, buffers, stages, _whole(op, arguments))


def _whole(op: Vector, arguments: tuple[Argument, ...]) -> dict[int, dict[str, int]]:
    """Return what may lie on the chip as a whole: where each access takes rows as they are."""
    found: dict[int, dict[str, int] | None] = {}
    for at, part in enumerate(op.parts):
        buffers, stored = Names(part, at).buffers, [number for number, _ in part.stores]
        loads = [(n, v.access) for n, v in enumerate(part.values) if v.access is not None]
        for number, access in (*loads, *part.stores):
            value, argument = part.values[number], access.argument
            computed = value.kind in (MAP, REDUCE) and stored.count(number) == 1
            usable = arguments[argument].dtype == "float32" and _dense(part, value, access)
            rows = found.setdefault(argument, {})
            if not usable or not ((value.kind == LOAD and number not in stored) or computed):
                found[argument] = None
            elif rows is not None:
                rows[buffers[number]] = max(1, access.row) * F32
    return {argument: rows for argument, rows in found.items() if rows}


def _dense(part: Part, value: Value, access: Access) -> bool:
    """Tell whether a value's rows lie in DRAM as they may on the chip."""
    if value.wide and (access.column != 1 or part.near < part.columns):
        return False
    return not value.tall or access.row >= (part.columns if value.wide else 1)


def element_of(dtype: str) -> dict[str, int]:
    """Return what an element of a type in DRAM is, in a transfer's operands."""
    name = "uint8" if dtype == "bool" else dtype
    convert = CONVERSIONS[name].code if name in CONVERSIONS else 0
    return {"element": DTYPES[dtype][1], "convert": convert}


class _Part:
    """Makes the instructions of one part."""

    def __init__(self, dtypes: tuple[str, ...], part: Part, tile: tuple[int, int], names: Names):
        self.dtypes, self.part, self.tile, self.names = dtypes, part, tile, names

    @property
    def in_pieces(self) -> bool:
        """Whether the rows that are summed go through the unit in pieces."""
        return self.part.reduces and self.tile[1] < self.part.columns

    def stages(self) -> dict[str, Callable]:
        """Return what each stage emits."""
        make = {LOAD: self.load, CONSTANT: self.constant, MAP: self.map, REDUCE: self.reduce}
        make[GATHER] = self.gather
        stages: dict[str, Callable] = {
            self.names.stage(number): partial(make[value.kind], number)
            for number, value in enumerate(self.part.values)
        }
        if self.in_pieces:
            for number in self.part.behind_reductions():
                if self.part.values[number].kind == REDUCE:
                    stages[self.names.sums(number)] = partial(self.part_sums, number)
        for at, (number, access) in enumerate(self.part.stores):
            stages[self.names.store(at)] = partial(self.store, number, access)
        return stages

    def extents(self, emitter: Emitter, value: Value, stage: StageNode) -> dict[str, int]:
        """Return the extent registers of a value's rows and columns in this tile."""
        rows, columns = self.tile
        found = {}
        for name, there, tile, limit, axis in (
            ("rows", value.tall, rows, self.part.rows, "r"),
            ("cols", value.wide, columns, self.part.columns, "c"),
        ):
            limits = (tile, limit, self.start(stage, axis)) if there else (1, 1, ZERO)
            found[name] = emitter.clip(*limits)
        return found

    def folded(self, value: Value) -> bool:
        """Tell whether a transfer's rows are the outer axis of a value's columns."""
        return value.wide and self.part.near < self.part.columns

    def box(self, emitter: Emitter, value: Value, stage: StageNode) -> dict[str, int]:
        """Return the extent registers of a transfer."""
        if not self.folded(value):
            return self.extents(emitter, value, stage)
        far = self.part.columns // self.part.near
        extents = {"rows": far, "cols": self.part.near}
        return {name: emitter.clip(size, size, ZERO) for name, size in extents.items()}

    def box_pitch(self, emitter: Emitter, number: int) -> int:
        """Return the bytes on the chip between a transfer's rows."""
        value = self.part.values[number]
        return self.part.near * F32 if self.folded(value) else self.pitch(emitter, number)

    def box_stride(self, access: Access) -> int:
        """Return the elements in DRAM between a transfer's rows."""
        return access.far if self.part.near < self.part.columns else access.row

    def start(self, stage: StageNode, axis: str) -> Linear:
        """Return where a tile starts along an axis; constants have none."""
        name = self.names.axis(axis)
        return stage[name] if name in stage.axes else ZERO

    def at(self, emitter: Emitter, number: int, stage: StageNode, path) -> Affine:
        """Return the address of a value."""
        value, buffer = self.part.values[number], self.names.buffers[number]
        if buffer in emitter.kept:
            access = value.access or dict(self.part.stores)[number]
            return affine(self.offset(access, stage) + emitter.placed[buffer].base, path)
        row = self.start(stage, "r") if value.tall else ZERO
        column = self.start(stage, "c") if value.wide else ZERO
        return emitter.at(buffer, row, column, path)

    def pitch(self, emitter: Emitter, number: int) -> int:
        return emitter.pitch(self.names.buffers[number])

    def offset(self, access: Access, stage: StageNode) -> Linear:
        """Return the offset in bytes of a tile's first element in DRAM."""
        place = Linear(access.offset)
        for number, stride in enumerate(access.outer):
            place = place + self.start(stage, f"o{number}") * stride
        place = place + self.start(stage, "r") * access.row
        return (place + self.start(stage, "c") * access.column) * self.bytes(access)

    def bytes(self, access: Access) -> int:
        """Return the bytes of an element in DRAM."""
        return DTYPES[self.dtypes[access.argument]][1]

    def element(self, access: Access) -> dict[str, int]:
        """Return what an element in DRAM is, in a transfer's operands."""
        return element_of(self.dtypes[access.argument])

    def load(self, number: int, stage: StageNode):
        value = self.part.values[number]
        access = value.access
        assert access is not None

        def build(emitter, path):
            return isa.DmaLoad(
                mem=Mem.OBUF,
                dst=self.at(emitter, number, stage, path),
                dst_pitch=self.box_pitch(emitter, number),
                arg=access.argument,
                src=affine(self.offset(access, stage), path),
                src_pitch=self.box_stride(access) * self.bytes(access),
                src_step=access.column * self.bytes(access),
                **self.element(access),
                **self.box(emitter, value, stage),
            )

        note = f"in{access.argument}"
        return [Op(Unit.DMA_IN, (), (self.names.buffers[number],), build, note=note)]

    def gather(self, number: int, stage: StageNode):
        value = self.part.values[number]
        access = value.access
        assert access is not None
        (index,) = value.operands

        def build(emitter, path):
            of = self.part.values[index]
            return isa.DmaGather(
                mem=Mem.OBUF,
                dst=self.at(emitter, number, stage, path),
                dst_pitch=self.pitch(emitter, number),
                arg=access.argument,
                src=affine(self.offset(access, stage), path),
                src_pitch=value.stride * self.bytes(access),
                src_step=access.column * self.bytes(access),
                index=self.at(emitter, index, stage, path),
                index_pitch=self.pitch(emitter, index) if of.tall else 0,
                limit=value.limit,
                **self.element(access),
                **self.extents(emitter, value, stage),
            )

        buffers = self.names.buffers
        note = f"rows of in{access.argument} by index"
        return [Op(Unit.DMA_IN, (buffers[index],), (buffers[number],), build, note=note)]

    def constant(self, number: int, stage: StageNode):
        value = self.part.values[number]

        def build(emitter, path):
            fill = isa.FillInt if isinstance(value.number, int) else isa.Fill
            return fill(
                dst=self.at(emitter, number, stage, path),
                dst_pitch=F32,
                value=value.number,
                **self.extents(emitter, value, stage),
            )

        return [Op(Unit.VECTOR, (), (self.names.buffers[number],), build, note="a constant")]

    def map(self, number: int, stage: StageNode):
        value = self.part.values[number]

        def build(emitter, path):
            given: dict[str, Any] = {
                f"{name}{of}": 0 for name in "abc" for of in ("_pitch", "_step")
            }
            given |= dict.fromkeys("abc", Affine())
            for name, operand in zip("abc", value.operands, strict=False):
                each = self.part.values[operand]
                given[name] = self.at(emitter, operand, stage, path)
                given[f"{name}_pitch"] = self.pitch(emitter, operand) if each.tall else 0
                given[f"{name}_step"] = F32 if each.wide else 0
            return isa.Map(
                operation=OPERATIONS[value.operation].code,
                dst=self.at(emitter, number, stage, path),
                dst_pitch=self.pitch(emitter, number),
                **given,
                **self.extents(emitter, value, stage),
            )

        return [self.step(number, build)]

    def part_sums(self, number: int, stage: StageNode):
        value, sums = self.part.values[number], self.names.sums(number)
        (operand,) = value.operands

        def build(emitter, path):
            return isa.ReducePart(
                operation=REDUCTIONS[value.operation].code,
                dst=emitter.at(sums, self.start(stage, "r"), ZERO, path),
                dst_pitch=emitter.pitch(sums),
                src=self.at(emitter, operand, stage, path),
                src_pitch=self.pitch(emitter, operand),
                **self.extents(emitter, self.part.values[operand], stage),
                accumulate=affine(self.start(stage, "c"), path),
            )

        read = self.names.buffers[operand]
        return [Op(Unit.VECTOR, (read,), (sums,), build, note=f"{value.operation} so far")]

    def reduce(self, number: int, stage: StageNode):
        value = self.part.values[number]
        (operand,) = value.operands
        if self.in_pieces:
            return self.whole(number, stage)

        def build(emitter, path):
            return isa.Reduce(
                operation=REDUCTIONS[value.operation].code,
                dst=self.at(emitter, number, stage, path),
                dst_pitch=self.pitch(emitter, number),
                src=self.at(emitter, operand, stage, path),
                src_pitch=self.pitch(emitter, operand),
                **self.extents(emitter, self.part.values[operand], stage),
            )

        return [self.step(number, build)]

    def whole(self, number: int, stage: StageNode):
        value, sums = self.part.values[number], self.names.sums(number)

        def build(emitter, path):
            extents = self.extents(emitter, value, stage)
            return isa.Reduce(
                operation=REDUCTIONS[value.operation].code,
                dst=self.at(emitter, number, stage, path),
                dst_pitch=self.pitch(emitter, number),
                src=emitter.at(sums, self.start(stage, "r"), ZERO, path),
                src_pitch=emitter.pitch(sums),
                rows=extents["rows"],
                cols=emitter.clip(PARTIALS, PARTIALS, ZERO),
            )

        buffers = self.names.buffers
        return [Op(Unit.VECTOR, (sums,), (buffers[number],), build, note=value.operation)]

    def step(self, number: int, build) -> Op:
        """Return the op of a value that the vector unit computes from others."""
        value, buffers = self.part.values[number], self.names.buffers
        reads = tuple(dict.fromkeys(buffers[operand] for operand in value.operands))
        return Op(Unit.VECTOR, reads, (buffers[number],), build, note=value.operation)

    def store(self, number: int, access: Access, stage: StageNode):
        value = self.part.values[number]

        def build(emitter, path):
            return isa.DmaStore(
                arg=access.argument,
                dst=affine(self.offset(access, stage), path),
                dst_pitch=self.box_stride(access) * self.bytes(access),
                dst_step=access.column * self.bytes(access),
                mem=Mem.OBUF,
                src=self.at(emitter, number, stage, path),
                src_pitch=self.box_pitch(emitter, number),
                **self.element(access),
                **self.box(emitter, value, stage),
            )

        note = f"argument {access.argument}"
        return [Op(Unit.DMA_OUT, (self.names.buffers[number],), (), build, note=note)]
