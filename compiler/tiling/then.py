"""A product whose result the vector unit takes on at once, tile by tile, before it is stored."""

from dataclasses import dataclass, replace
from functools import cached_property

from ...target.isa.spec import Mem
from ..operators import CONSTANT, LOAD, MAP, Access, Gemm, Part, Vector
from .nest import F32, BufferRow, Nest, Stage
from .strides import along

RESULT = "y"
"""The buffer of a product's result."""
AXES = ("i", "m", "n")
"""Of a product's result: images, rows, columns."""
MOST_SHARED = 1 << 17
"""Bytes of what all images share and is loaded once, as a whole."""


@dataclass(frozen=True)
class Steps:
    """The steps of a vector operator among the stages of a product.

    Attributes
    ----------
    argument : int
        Of the vector operator: what the product gives.
    strides : dict of int to tuple of int
        By value that is loaded from elsewhere, in elements along `AXES`.
    target : tuple of int
        The same of what is stored.
    """

    op: Gemm
    vector: Vector
    argument: int
    strides: dict[int, tuple[int, ...]]
    target: tuple[int, ...]

    @property
    def part(self) -> Part:
        return self.vector.parts[0]

    @cached_property
    def moved(self) -> list[set[str]]:
        """Along which axes each value changes."""
        found: list[set[str]] = []
        for number, value in enumerate(self.part.values):
            if value.kind == LOAD:
                strides = self.strides.get(number, (1, 1, 1))
                found.append({axis for axis, by in zip(AXES, strides, strict=True) if by})
            else:
                found.append(set().union(*(found[operand] for operand in value.operands)))
        return found

    @property
    def stored(self) -> int:
        """The value that is stored."""
        return self.part.stores[0][0]

    @cached_property
    def buffers(self) -> list[str]:
        """Whose buffer each value is in: a step takes the place of one that nobody reads again."""
        values = self.part.values
        last = {operand: n for n, value in enumerate(values) for operand in value.operands}
        found: list[str] = []
        for number, value in enumerate(values):
            free = [
                operand
                for operand in value.operands
                if last[operand] == number
                and values[operand].kind == MAP
                and operand != self.stored
                and self.tile(operand) == self.tile(number)
            ]
            if value.kind == LOAD and number not in self.strides:
                found.append(RESULT)
            elif free and number != self.stored:
                found.append(found[free[0]])
            else:
                found.append(f"then_{number}")
        return found

    @property
    def result(self) -> str:
        """The buffer of what is stored."""
        return self.buffers[self.stored]

    def stage(self, number: int) -> str:
        """Return the stage that makes a value."""
        return f"then{number}"

    def tile(self, number: int) -> bool:
        """Tell whether a value that is computed is a tile; else it's one number."""
        return bool(self.moved[number])

    def extends(self, number: int) -> tuple[bool, bool]:
        """Tell whether a value has a number for each row, and for each column."""
        if self.part.values[number].kind == LOAD:
            return "m" in self.moved[number], "n" in self.moved[number]
        return self.tile(number), self.tile(number)

    def dense(self, strides: tuple[int, ...]) -> bool:
        """Tell whether elements lie as those of the product's result do."""
        return strides == (self.op.m * self.op.n, self.op.n, 1)


def following(op: Gemm, vector: Vector, argument: int = 0) -> Steps | None:
    """Return the steps of a vector operator that can follow a product's tiles, None of another.

    They make of each element of the product's result, of constants, and of elements of other
    tensors at strides, an element of one result at strides.

    Parameters
    ----------
    argument : int
        Of the vector operator: the product's result.
    """
    if op.conv or op.requantize or len(vector.parts) != 1 or vector.outputs != 1:
        return None
    if {vector.dtypes[argument], vector.dtypes[-1]} != {"float32"}:
        return None
    (part,) = vector.parts
    loads = {n: value.access for n, value in enumerate(part.values) if value.access is not None}
    mine = [number for number, access in loads.items() if access.argument == argument]
    if any(value.kind not in (LOAD, CONSTANT, MAP) for value in part.values):
        return None
    if len(mine) != 1 or len(part.stores) != 1 or part.values[part.stores[0][0]].kind == CONSTANT:
        return None
    walked, shape = loads.pop(mine[0]), (op.batch, op.m, op.n)

    def strides(access: Access) -> tuple[int, ...] | None:
        found = None if access.offset else along(part, walked, access, shape)
        if found is None or not any(found):
            return None if found is None else (0, 0, 0)
        # Along an axis of one step a tensor may as well lie as the result does.
        dense = (op.m * op.n, op.n, 1)
        triples = zip(shape, found, dense, strict=True)
        return tuple(other if extent == 1 else by for extent, by, other in triples)

    others = {number: strides(access) for number, access in loads.items()}
    target = strides(part.stores[0][1])
    known = {number: each for number, each in others.items() if each is not None}
    if target is None or len(known) < len(others) or part.stores[0][0] in others:
        return None
    return Steps(op, vector, argument, known, target)


def then_nest(nest: Nest, steps: Steps) -> Nest:
    """Return a product's nest with steps behind each tile of its result."""
    out = nest.stages["out"]
    before: dict[str, Stage] = {}
    behind: dict[str, Stage] = {}
    buffers: dict[str, BufferRow] = {}
    for number, value in enumerate(steps.part.values):
        name, buffer = steps.stage(number), steps.buffers[number]
        if buffer == RESULT:
            continue
        load = value.kind == LOAD
        if load:
            home = _home(nest, steps, number)
            reader = steps.part.first_readers()[number]
            before[name] = Stage(name, out.axes, home, buffer, feeds=steps.stage(reader))
        elif steps.tile(number):
            behind[name] = Stage(name, out.axes, out.home, buffer)
        else:
            before[name] = Stage(name, (), "", buffer)
        tall, wide = steps.extends(number)
        columns = ("nb", "nj") if load else ("nj",)
        row = BufferRow(
            buffer,
            Mem.OBUF,
            name,
            ("m",) if tall else ("one",),
            columns if wide else ("one",),
            F32,
            result=not load,
            alone=not load and number != steps.stored,
        )
        buffers.setdefault(buffer, row)
    kept = {name: stage for name, stage in nest.stages.items() if name != "out"}
    stages = {**before, **kept, **behind, "out": out}
    own = [
        replace(row, alone=True) if row.name == RESULT != steps.result else row
        for row in nest.buffers
    ]
    return replace(nest, stages=stages, buffers=(*own, *buffers.values()))


def _home(nest: Nest, steps: Steps, number: int) -> str:
    """Return the loop in which a load stands: the innermost that moves it.

    What all images share is loaded once if it isn't large.
    """
    op, moved = steps.op, steps.moved[number]
    size = F32 * (op.m if "m" in moved else 1) * (op.n if "n" in moved else 1)
    if "i" not in moved and op.batch > 1 and size <= MOST_SHARED:
        return ""
    loops = [
        loop
        for loop in nest.loops
        if loop.removesuffix("b") in moved and loop in AXES + ("nb",) and nest.axes[loop].trips > 1
    ]
    return loops[-1] if loops else ""
