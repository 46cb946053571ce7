"""From a PrimFunc to an operator of the vector unit, or the reason why it stays on the host."""

import math

from tvm import ir, tirx

from ....target.vector_operations import NUMBERS, OPERATIONS
from ...operators import CONSTANT, LOAD, MAP, REDUCE, Access, Part, Value, Vector
from .axes import flat_offset, merged, same_axes, strided
from .blocks import Block, read_blocks
from .cuts import cut_where_read
from .expressions import loads_of, replaced
from .pieces import apart, pieces
from .refusal import Refused
from .windows import unrolled

MOST_OUTER = 5
"""Loops around rows and columns that a program has room for."""


def read_vector(sch) -> Vector:
    """Return the operator of a function whose blocks are inlined as far as they can be.

    Raises
    ------
    Refused
        With the reason.
    """
    buffers = list(sch.mod["main"].params)
    for buffer in buffers:
        if str(buffer.dtype) != "float32":
            raise Refused(f"the vector unit takes float32 alone, not {buffer.dtype}")
    blocks = cut_where_read([unrolled(block) for block in read_blocks(sch)])
    if any(extent == 0 for block in blocks for extent in block.axes.values()):
        raise Refused("a tensor without elements has nothing to compute")
    written = {block.buffer for block in blocks}
    parts = tuple(
        _Reader(buffers, piece).read() for group in apart(blocks) for piece in pieces(group)
    )
    shapes = tuple(tuple(int(size) for size in buffer.shape) for buffer in buffers)
    return Vector(shapes, sum(buffer in written for buffer in buffers), parts)


class _Reader:
    """Collects the values of one part while it walks through its blocks' expressions."""

    def __init__(self, buffers: list, blocks: list[Block]):
        self.buffers, self.blocks = buffers, blocks
        self.axes, self.renamed = same_axes(blocks)
        self.values: list[Value] = []
        # By text: 0.0 and -0.0 are equal, but not the same number.
        self.numbers: dict[str, int] = {}
        self.made: dict[tirx.Buffer, int] = {}
        self.written = {block.buffer for block in blocks}

    def read(self) -> Part:
        accesses = self._accesses()
        self.axes, flat = strided([offset for _, offset in accesses], self.axes)
        self.axes, _ = merged(self.axes, [strides for _, strides in flat])
        self.outer, self.row, self.column = self._shape()
        self.places = {}
        for (key, _), (offset, strides) in zip(accesses, flat, strict=True):
            self.places[key] = self._access(key[0], offset, strides)
        stores = []
        for at, block in enumerate(self.blocks):
            value = self._visit(block.value, at)
            if block.reduction:
                value = self._wide(value)
                tall = self.values[value].tall
                value = self._add(Value(REDUCE, block.reduction, (value,), tall=tall))
            self.made[block.buffer] = value
            if block.buffer in self.buffers:
                access = self.places[(block.buffer, at, -1)]
                stores.append((self._spread(value, access), access))
        extent = {**self.axes.extents, None: 1}
        near = extent[self.column]
        return Part(
            tuple(extent[var] for var in self.outer),
            extent[self.row],
            near * extent[self.far],
            near,
            tuple(self.values),
            tuple(stores),
        )

    def _wide(self, number: int) -> int:
        """Return a value that has a number for each column, to be reduced."""
        value = self.values[number]
        if value.wide:
            return number
        return self._add(Value(MAP, "copy", (number,), tall=value.tall, wide=True))

    def _spread(self, number: int, access: Access) -> int:
        """Return a value that has a number for each element that is stored."""
        value = self.values[number]
        tall, wide = access.row != 0, _wide(access)
        if (value.tall or not tall) and (value.wide or not wide):
            return number
        return self._add(Value(MAP, "copy", (number,), tall=tall, wide=wide))

    def _accesses(self) -> list[tuple[tuple, ir.Expr]]:
        """Return what each load and store of an argument is at, by (buffer, block, number)."""
        found = []
        for at, block in enumerate(self.blocks):
            names = self.renamed[at]
            for number, load in enumerate(loads_of(block.value)):
                if load.source in self.buffers and load.source not in self.written:
                    place = flat_offset(load.source, load.indices)
                    found.append(((load.source, at, number), replaced(place, names)))
            if block.buffer in self.buffers:
                place = flat_offset(block.buffer, block.indices)
                found.append(((block.buffer, at, -1), replaced(place, names)))
        return found

    def _shape(self):
        """Return the outer axes, that of rows and that of columns."""
        reduced = [var for var in self.axes.extents if var in self.axes.reduced]
        plain = [var for var in self.axes.extents if var not in self.axes.reduced]
        if len(reduced) > 2:
            raise Refused("it reduces along axes that don't lie behind each other")
        column = reduced[-1] if reduced else self._longest(plain)
        self.far = reduced[0] if len(reduced) > 1 else None
        row = self._longest([var for var in plain if not var.same_as(column)])
        plain = [var for var in plain if not var.same_as(column) and not var.same_as(row)]
        if len(plain) > MOST_OUTER:
            raise Refused(f"it has more than {MOST_OUTER + 2} axes")
        return plain, row, column

    def _longest(self, axes: list):
        """Return the longest axis, of equal ones the innermost; None of none."""
        return max(reversed(axes), key=lambda var: self.axes.extents[var], default=None)

    def _access(self, buffer, offset: int, strides: dict) -> Access:
        argument = self.buffers.index(buffer)
        outer = tuple(strides.get(var, 0) for var in self.outer)
        row, column, far = (strides.get(var, 0) for var in (self.row, self.column, self.far))
        return Access(argument, offset, outer, row, column, far)

    def _add(self, value: Value) -> int:
        key = repr(value)
        if key not in self.numbers:
            self.numbers[key] = len(self.values)
            self.values.append(value)
        return self.numbers[key]

    def _map(self, operation: str, *operands: int) -> int:
        if operation not in OPERATIONS:
            raise Refused(f"the vector unit has no {operation}")
        given = [self.values[number] for number in operands]
        tall, wide = any(one.tall for one in given), any(one.wide for one in given)
        return self._add(Value(MAP, operation, operands, tall=tall, wide=wide))

    def _constant(self, number: float) -> int:
        return self._add(Value(CONSTANT, number=number))

    def _visit(self, expr: ir.Expr, at: int) -> int:
        loads = {hash(load): number for number, load in enumerate(loads_of(self.blocks[at].value))}

        def visit(node) -> int:
            if isinstance(node, tirx.FloatImm) and not math.isnan(float(node)):
                return self._constant(float(node))
            if isinstance(node, ir.TensorLoad):
                if node.source in self.made:
                    return self.made[node.source]
                access = self.places[(node.source, at, loads[hash(node)])]
                return self._add(
                    Value(LOAD, access=access, tall=access.row != 0, wide=_wide(access))
                )
            kind = type(node)
            if isinstance(node, tirx.IntImm) and int(node) in (0, 1):
                return self._constant(float(int(node)))
            if isinstance(node, tirx.Cast) and str(node.value.ty.dtype) == "bool":
                return visit(node.value)
            if kind in BINARY:
                return self._map(BINARY[kind], visit(node.a), visit(node.b))
            if kind in SWAPPED:
                return self._map(SWAPPED[kind], visit(node.b), visit(node.a))
            if isinstance(node, tirx.Select):
                parts = (node.condition, node.true_value, node.false_value)
                return self._map("select", *map(visit, parts))
            if isinstance(node, ir.Call):
                return self._call(node, visit)
            raise Refused(f"the vector unit knows no {kind.__name__}")

        return visit(expr)

    def _call(self, node: ir.Call, visit) -> int:
        name = getattr(node.op, "name", "").rpartition(".")[2]
        if name not in CALLS:
            raise Refused(f"the vector unit has no {name}")
        return self._map(CALLS[name], *map(visit, node.args))


def _wide(access: Access) -> bool:
    return access.column != 0 or access.far != 0


BINARY = {
    tirx.Add: "add",
    tirx.Sub: "subtract",
    tirx.Mul: "multiply",
    tirx.Div: "divide",
    tirx.Max: "max",
    tirx.Min: "min",
    tirx.LT: "less",
    tirx.LE: "less_equal",
    tirx.EQ: "equal",
}
SWAPPED = {tirx.GT: "less", tirx.GE: "less_equal"}
CALLS = {"round": "nearbyint", **{name: name for name in NUMBERS}}
"""TIR's expressions and intrinsics as operations of the vector unit."""
