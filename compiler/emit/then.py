"""Instructions of the steps that follow each tile of a product's result."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ...target.formats import MACRO_BLOCK
from ...target.isa import instructions as isa
from ...target.isa.program import Argument
from ...target.isa.spec import Affine, Mem, Unit
from ...target.vector_operations import OPERATIONS
from ..operators import CONSTANT, LOAD, Gemm
from ..tiling.nest import F32
from ..tiling.then import Steps
from .allocate import affine
from .gemm import first_column, first_row, lower_gemm, store
from .loads import ZERO, column_extent, fixed_extent, row_extent
from .state import Emitter, Lowered, Op
from .tree import Linear, StageNode
from .vector import element_of


def lower_then(steps: Steps, emitter: Emitter, weights: bytes) -> Lowered:
    """Return arguments, buffers and stage emitters of a product with steps behind it."""
    op: Gemm = emitter.operator
    lowered = lower_gemm(emitter, weights)
    others = [n for n in range(len(steps.vector.arguments) - 1) if n != steps.argument]
    arguments, place = _arguments(steps, others, lowered.arguments)
    stages: dict[str, Callable] = dict(lowered.stages)
    whole = {n: rows for n, rows in lowered.whole.items() if not lowered.arguments[n].is_output}
    for number, value in enumerate(steps.part.values):
        if value.kind == CONSTANT:
            stages[steps.stage(number)] = partial(_constant, steps, number)
        elif number in steps.strides:
            access = value.access
            assert access is not None
            argument = place[access.argument]
            stages[steps.stage(number)] = partial(_load, op, steps, number, argument)
            if _as_it_lies(steps, number) and argument not in whole:
                whole[argument] = {steps.buffers[number]: steps.strides[number][1] * F32}
        elif value.kind != LOAD:
            stages[steps.stage(number)] = partial(_step, op, steps, number)
    read = [v.access.argument for v in steps.part.values if v.access is not None]
    whole = {n: r for n, r in whole.items() if sum(place.get(a) == n for a in read) < 2}
    out = len(arguments) - 1
    index = {"out": out}
    offset = partial(_target, steps.target)
    pieces = emitter.tile.store_pieces
    stages["out"] = partial(store, pieces, steps.result, op, index, offset=offset)
    if steps.dense(steps.target):
        whole[out] = {steps.result: op.n * F32}
    return Lowered(arguments, lowered.buffers, stages, whole)


def _arguments(
    steps: Steps, others: list[int], product: tuple[Argument, ...]
) -> tuple[tuple[Argument, ...], dict[int, int]]:
    """Return the product's inputs, the other ones of the steps, the result; and where those are."""
    vector = steps.vector
    more = [
        Argument(f"then{number}", vector.dtypes[number], vector.arguments[number])
        for number in others
    ]
    inputs = [argument for argument in product if not argument.is_output]
    place = {number: len(inputs) + at for at, number in enumerate(others)}
    out = Argument("out", "float32", vector.arguments[-1], True)
    return (*inputs, *more, out), place


def _as_it_lies(steps: Steps, number: int) -> bool:
    """Tell whether a tensor may lie on the chip as a whole, with the rows that steps take of it."""
    image, row, column = steps.strides[number]
    access = steps.part.values[number].access
    assert access is not None
    if steps.vector.dtypes[access.argument] != "float32" or not row or column != 1:
        return False
    return row >= steps.op.n and image % row == 0


def _target(strides: tuple[int, ...], _op: Gemm, i, _c, nb, m) -> tuple[Linear, int, int]:
    """Return element offset, row pitch and column step of what is stored."""
    image, row, column = strides
    return i * image + m * row + nb * (MACRO_BLOCK * column), row, column


def _place(op: Gemm, steps: Steps, emitter: Emitter, number: int, stage: StageNode, path) -> Affine:
    """Return where a value has the elements of this tile."""
    tall, wide = steps.extends(number)
    row = first_row(op, stage) if tall else ZERO
    if number in steps.strides and tall:
        image, by = steps.strides[number][:2]
        row = stage["i"] * (image // by) + stage["m"]
    return emitter.at(steps.buffers[number], row, first_column(stage) if wide else ZERO, path)


def _load(op: Gemm, steps: Steps, number: int, argument: int, stage: StageNode):
    image, row, column = steps.strides[number]
    access = steps.part.values[number].access
    assert access is not None
    kind = element_of(steps.vector.dtypes[access.argument])
    tall, wide = steps.extends(number)

    def build(emitter: Emitter, path):
        start, pitch, step = _target((image, row, column), op, *_starts(stage))
        columns = fixed_extent(emitter)
        if wide and stage.extent("nb") > 1:
            columns = fixed_extent(emitter, op.n)
        elif wide:
            columns = column_extent(emitter, stage["nb"])
        return isa.DmaLoad(
            mem=Mem.OBUF,
            dst=_place(op, steps, emitter, number, stage, path),
            dst_pitch=emitter.pitch(steps.buffers[number]),
            arg=argument,
            src=affine(start * kind["element"], path),
            src_pitch=pitch * kind["element"],
            src_step=step * kind["element"],
            rows=emitter.clip(stage.extent("m"), op.m, stage["m"])
            if tall
            else fixed_extent(emitter),
            cols=columns,
            **kind,
        )

    note = f"operand of what follows: then{access.argument}"
    return [Op(Unit.DMA_IN, (), (steps.buffers[number],), build, note=note)]


def _starts(stage: StageNode) -> tuple[Linear, ...]:
    return tuple(stage[axis] for axis in ("i", "c", "nb", "m"))


def _constant(steps: Steps, number: int, _stage: StageNode):
    value, buffer = steps.part.values[number], steps.buffers[number]
    kind = isa.FillInt if isinstance(value.number, int) else isa.Fill

    def build(emitter, path):
        return kind(
            dst=emitter.at(buffer, ZERO, ZERO, path),
            dst_pitch=F32,
            value=value.number,
            rows=fixed_extent(emitter),
            cols=fixed_extent(emitter),
        )

    return [Op(Unit.VECTOR, (), (buffer,), build, note="a constant")]


def _step(op: Gemm, steps: Steps, number: int, stage: StageNode):
    value, buffers = steps.part.values[number], steps.buffers

    def place(emitter: Emitter, of: int, path) -> Affine:
        if not steps.tile(of):
            return emitter.at(buffers[of], ZERO, ZERO, path)
        return _place(op, steps, emitter, of, stage, path)

    def build(emitter, path):
        given: dict[str, Any] = {f"{name}{of}": 0 for name in "abc" for of in ("_pitch", "_step")}
        given |= dict.fromkeys("abc", Affine())
        for name, operand in zip("abc", value.operands, strict=False):
            tall, wide = steps.extends(operand)
            given[name] = place(emitter, operand, path)
            given[f"{name}_pitch"] = emitter.pitch(buffers[operand]) if tall else 0
            given[f"{name}_step"] = F32 if wide else 0
        one = fixed_extent(emitter)
        return isa.Map(
            operation=OPERATIONS[value.operation].code,
            dst=place(emitter, number, path),
            dst_pitch=emitter.pitch(buffers[number]),
            **given,
            rows=row_extent(emitter, stage["m"]) if steps.tile(number) else one,
            cols=column_extent(emitter, stage["nb"]) if steps.tile(number) else one,
        )

    reads = tuple(dict.fromkeys(buffers[operand] for operand in value.operands))
    return [Op(Unit.VECTOR, reads, (buffers[number],), build, note=value.operation)]
