"""Instructions of the steps that follow each tile of a product's result."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ...target.isa import instructions as isa
from ...target.isa.spec import Affine, Unit
from ...target.vector_operations import OPERATIONS
from ..operators import CONSTANT, LOAD, Gemm, Part
from ..tiling.nest import F32
from ..tiling.then import Steps
from .gemm import first_column, first_row, lower_gemm, store
from .loads import ZERO, column_extent, fixed_extent, row_extent
from .state import Emitter, Lowered, Op
from .tree import StageNode


def lower_then(part: Part, emitter: Emitter, weights: bytes) -> Lowered:
    """Return arguments, buffers and stage emitters of a product with steps behind it."""
    op: Gemm = emitter.operator
    lowered, steps = lower_gemm(emitter, weights), Steps(part)
    stages: dict[str, Callable] = dict(lowered.stages)
    for number, value in enumerate(part.values):
        if value.kind == CONSTANT:
            stages[steps.stage(number)] = partial(_constant, steps, number)
        elif value.kind != LOAD:
            stages[steps.stage(number)] = partial(_step, op, steps, number)
    index = {argument.name: number for number, argument in enumerate(lowered.arguments)}
    stages["out"] = partial(store, emitter.tile.store_pieces, steps.result, op, index)
    whole = {**lowered.whole, index["out"]: {steps.result: op.n * F32}}
    return Lowered(lowered.arguments, lowered.buffers, stages, whole)


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
        where = (first_row(op, stage), first_column(stage)) if steps.tile(of) else (ZERO, ZERO)
        return emitter.at(buffers[of], *where, path)

    def build(emitter, path):
        given: dict[str, Any] = {f"{name}{of}": 0 for name in "abc" for of in ("_pitch", "_step")}
        given |= dict.fromkeys("abc", Affine())
        for name, operand in zip("abc", value.operands, strict=False):
            given[name] = place(emitter, operand, path)
            if steps.tile(operand):
                given[f"{name}_pitch"] = emitter.pitch(buffers[operand])
                given[f"{name}_step"] = F32
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
