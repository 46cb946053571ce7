"""A product whose result the vector unit takes on at once, tile by tile, before it is stored."""

import math
from dataclasses import replace

from ...target.isa.spec import Mem
from ..operators import CONSTANT, LOAD, MAP, Gemm, Part, Vector
from .nest import F32, BufferRow, Nest, Stage
from .vector import Names

RESULT = "y"
"""The buffer of a product's result."""


def following(op: Gemm, vector: Vector) -> Part | None:
    """Return the steps of a vector operator that can follow a product's tiles, None of another.

    They make of each element of the product's result, and of constants, the element in its place.
    """
    if op.conv or op.requantize or len(vector.parts) != 1 or vector.dtypes != ("float32",) * 2:
        return None
    (part,) = vector.parts
    loads = [value for value in part.values if value.kind == LOAD]
    if any(value.kind not in (LOAD, CONSTANT, MAP) for value in part.values):
        return None
    if len(loads) != 1 or len(part.stores) != 1:
        return None
    (number, target), source = part.stores[0], loads[0].access
    if source is None or part.values[number].kind != MAP:
        return None
    whole = math.prod(part.outer) * part.rows * part.columns == math.prod(op.output_shape)
    return part if whole and replace(source, argument=target.argument) == target else None


class Steps:
    """What stages and buffers of the steps are called among those of the product."""

    def __init__(self, part: Part):
        self.part = part
        places = Names(part, 0).buffers
        self.buffers = [
            RESULT if value.kind == LOAD else f"then_{place}"
            for value, place in zip(part.values, places, strict=True)
        ]
        self.alone = [number != part.stores[0][0] for number in range(len(part.values))]

    @property
    def result(self) -> str:
        """The buffer of what is stored."""
        return self.buffers[self.part.stores[0][0]]

    def stage(self, number: int) -> str:
        """Return the stage that makes a value."""
        return f"then{number}"

    def tile(self, number: int) -> bool:
        """Tell whether a value is a tile; else it's one number."""
        value = self.part.values[number]
        return value.tall or value.wide


def then_nest(nest: Nest, part: Part) -> Nest:
    """Return a product's nest with steps behind each tile of its result."""
    steps, out = Steps(part), nest.stages["out"]
    before: dict[str, Stage] = {}
    behind: dict[str, Stage] = {}
    buffers: dict[str, BufferRow] = {}
    for number, value in enumerate(part.values):
        name, buffer = steps.stage(number), steps.buffers[number]
        if value.kind == LOAD:
            continue
        if steps.tile(number):
            behind[name] = Stage(name, out.axes, out.home, buffer)
        else:
            before[name] = Stage(name, (), "", buffer)
        rows, columns = (("m",), ("nj",)) if steps.tile(number) else (("one",), ("one",))
        alone = steps.alone[number]
        row = BufferRow(buffer, Mem.OBUF, name, rows, columns, F32, result=True, alone=alone)
        buffers.setdefault(buffer, row)
    kept = {name: stage for name, stage in nest.stages.items() if name != "out"}
    stages = {**before, **kept, **behind, "out": out}
    own = [replace(row, alone=True) if row.name == RESULT else row for row in nest.buffers]
    return replace(nest, stages=stages, buffers=(*own, *buffers.values()))
