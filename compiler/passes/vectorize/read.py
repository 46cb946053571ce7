"""From a PrimFunc to an operator of the vector unit, or the reason why it stays on the host."""

from tvm import ir, tirx
from tvm.ir.prim.expr import BitwiseNot

from ...operators import GATHER, LOAD, MAP, Access, Part, Value, Vector
from .axes import flat_offset, merged, same_axes, strided
from .blocks import Block, read_blocks
from .cuts import cut, cut_where_read, periods_of
from .expressions import called, children, loads_of, replaced
from .gather import gather_of
from .pieces import apart, pieces
from .places import place_expressions
from .refusal import Refused
from .tables import Tables, tabled
from .values import Values
from .windows import unrolled
from .words import (
    ARITHMETIC,
    BOOL,
    CALLS,
    COMPARE,
    DTYPES,
    DYADIC,
    FLOAT,
    INT,
    SWAPPED,
    comparison,
    dtype_of,
    operation,
    scaled_by,
)  # fmt: skip

MOST_OUTER = 5
"""Loops around rows and columns that a program has room for."""


def read_vector(sch) -> tuple[Vector, Tables]:
    """Return the operator of a function whose blocks are inlined as far as they can be.

    Beside it are tables, which the operator takes behind the other operands.

    Raises
    ------
    Refused
        With the reason.
    """
    buffers = list(sch.mod["main"].params)
    for buffer in buffers:
        if str(buffer.dtype) not in DTYPES:
            raise Refused(f"the vector unit takes no {buffer.dtype}; it does {', '.join(DTYPES)}")
    tables = Tables()
    blocks = [unrolled(block) for block in read_blocks(sch)]
    # Only of what others read, axes have to stay as they are.
    blocks = [
        cut(block, periods_of(place_expressions(block.value), (tirx.FloorMod,)))
        if block.buffer in buffers
        else block
        for block in blocks
    ]
    blocks = cut_where_read([tabled(block, tables) for block in blocks])
    blocks = [block for block in blocks if all(block.axes.values())]
    if not blocks:
        raise Refused("a tensor without elements has nothing to compute")
    written = {block.buffer for block in blocks}
    outputs = sum(buffer in written for buffer in buffers)
    at = len(buffers) - outputs
    buffers[at:at] = [buffer for buffer, _ in tables.made]
    parts = tuple(
        _Reader(buffers, piece).read() for group in apart(blocks) for piece in pieces(group)
    )
    shapes = tuple(tuple(int(size) for size in buffer.shape) for buffer in buffers)
    dtypes = tuple(str(buffer.dtype) for buffer in buffers)
    return Vector(shapes, dtypes, outputs, parts), tables


class _Reader:
    """Collects the values of one part while it walks through its blocks' expressions."""

    def __init__(self, buffers: list, blocks: list[Block]):
        self.buffers, self.blocks = buffers, blocks
        self.axes, self.renamed = same_axes(blocks)
        whole = {axis for axis in self.axes.reduced if self.axes.extents[axis] > 1}
        for block, names in zip(blocks, self.renamed, strict=True):
            mine = {names[var] for var in block.reduced if block.axes[var] > 1}
            if block.reduction and mine != whole:
                raise Refused("it reduces along one axis and then along another")
        self.values = Values()
        self.made: dict[tirx.Buffer, int] = {}
        self.written = {block.buffer for block in blocks}
        self.indices: set[tuple] = set()
        self.choices = 0
        self.gathered: set[tuple] = set()

    def read(self) -> Part:
        accesses = self._accesses()
        self.axes, flat = strided([offset for _, offset in accesses], self.axes)
        self.axes, _ = merged(self.axes, [strides for _, strides in flat])
        moving = [
            (key, [var for var, step in strides.items() if step])
            for (key, _), (_, strides) in zip(accesses, flat, strict=True)
        ]
        self.indexed = {var for key, axes in moving if key in self.indices for var in axes}
        self.fixed = {var for key, axes in moving if key in self.gathered for var in axes}
        self.outer, self.row, self.column = self._shape()
        self.places = {}
        for (key, _), (offset, strides) in zip(accesses, flat, strict=True):
            self.places[key] = self._access(key[0], offset, strides)
        stores = []
        for at, block in enumerate(self.blocks):
            value = self._visit(block.value, at)
            if block.reduction:
                value = self.values.reduced(block, self.values.wide(value))
            self.made[block.buffer] = value
            if block.buffer in self.buffers:
                access = self.places[(block.buffer, at, -1)]
                if str(block.buffer.dtype) == BOOL:  # a byte is an integer before
                    value = self.values.cast(value, BOOL, INT)
                stores.append((self.values.spread(value, access.row != 0, _wide(access)), access))
        extent = {**self.axes.extents, None: 1}
        near = extent[self.column]
        return Part(
            tuple(extent[var] for var in self.outer),
            extent[self.row],
            near * extent[self.far],
            near,
            tuple(self.values.found),
            tuple(stores),
        )

    def _accesses(self) -> list[tuple[tuple, ir.Expr]]:
        """Return what each load and store of an argument is at, by (buffer, block, number)."""
        found = []
        for at, block in enumerate(self.blocks):
            names = self.renamed[at]
            for number, load in enumerate(loads_of(block.value)):
                if load.source in self.buffers and load.source not in self.written:
                    gathered = gather_of(load)
                    indices = load.indices if gathered is None else gathered.rest
                    if gathered is not None:
                        self.gathered.add((load.source, at, number))
                    inner = {hash(each) for index in load.indices for each in loads_of(index)}
                    self.indices |= {
                        (each.source, at, place)
                        for place, each in enumerate(loads_of(block.value))
                        if hash(each) in inner
                    }
                    place = replaced(flat_offset(load.source, indices), names)
                    found.append(((load.source, at, number), place))
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
        # A row has one index, so those along which it changes are no columns.
        still = [var for var in plain if var not in self.indexed]
        column = reduced[-1] if reduced else self._longest(still)
        self.far = reduced[0] if len(reduced) > 1 else None
        rows = [var for var in plain if var is not column and not var.same_as(column)]
        # Nor does a row by index start elsewhere than the index says.
        apart = [var for var in rows if var not in self.fixed]
        row = self._longest([var for var in apart if var in self.indexed] or apart)
        plain = [var for var in rows if row is None or not var.same_as(row)]
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

    def _visit(self, expr: ir.Expr, at: int) -> int:
        loads = {hash(load): number for number, load in enumerate(loads_of(self.blocks[at].value))}

        def visit(node) -> int:
            kind = type(node)
            if isinstance(node, tirx.FloatImm | tirx.IntImm):
                return self.values.constant(node)
            if isinstance(node, ir.TensorLoad):
                if node.source in self.made:
                    return self.made[node.source]
                return self._load(node, self.places[(node.source, at, loads[hash(node)])], visit)
            if isinstance(node, tirx.Cast):
                return self.values.cast(visit(node.value), dtype_of(node.value), dtype_of(node))
            if isinstance(node, tirx.Select) or called(node) == "if_then_else":
                return self._chosen(children(node), visit)
            if isinstance(node, tirx.Not):
                return self.values.map("equal", visit(node.a), self.values.number(0.0))
            if isinstance(node, ir.Call):
                return self._call(node, visit)
            if kind in COMPARE:
                return self.values.map(
                    comparison(COMPARE[kind], dtype_of(node.a)), visit(node.a), visit(node.b)
                )
            if kind in SWAPPED:
                return self.values.map(
                    comparison(SWAPPED[kind], dtype_of(node.a)), visit(node.b), visit(node.a)
                )
            if isinstance(node, BitwiseNot):
                if dtype_of(node) == BOOL:
                    return self.values.map("equal", visit(node.a), self.values.number(0.0))
                return self.values.map("bit_xor", visit(node.a), self.values.number(-1))
            if not hasattr(node, "a") or not hasattr(node, "b"):
                raise Refused(f"the vector unit knows no {kind.__name__}")
            name = operation(ARITHMETIC, dtype_of(node), kind)
            return self.values.map(
                name, visit(node.a), self.values.safe(name, visit(node.b), self.choices > 0)
            )

        return visit(expr)

    def _chosen(self, parts: list, visit) -> int:
        condition = visit(parts[0])
        self.choices += 1
        one, other = map(visit, parts[1:])
        self.choices -= 1
        return self.values.map("select", condition, one, other)

    def _call(self, node: ir.Call, visit) -> int:
        name = called(node)
        if name == DYADIC:
            return self.values.map("dyadic", *map(visit, scaled_by(node)))
        return self.values.map(operation(CALLS, dtype_of(node), name), *map(visit, node.args))

    def _load(self, load, access: Access, visit) -> int:
        given = self._given(load, access, visit)
        value = self.values.add(given)
        # Bytes become integers while they are loaded; truth is a number of fp32.
        return self.values.cast(value, INT, FLOAT) if dtype_of(load) == BOOL else value

    def _given(self, load, access: Access, visit) -> Value:
        tall, wide = access.row != 0, _wide(access)
        if (gathered := gather_of(load)) is None:
            return Value(LOAD, access=access, tall=tall, wide=wide)
        index = visit(gathered.index)
        if self.choices:  # outside of the tensor it isn't chosen
            index = self.values.map("int_max", index, self.values.number(0))
            index = self.values.map("int_min", index, self.values.number(gathered.limit - 1))
        if self.values[index].kind != MAP:
            index = self.values.map("copy", index)
        if self.values[index].wide or self.far is not None:
            raise Refused("an index for each element of a row")
        if access.row:
            raise Refused("rows by index that lie apart besides")
        tall = tall or self.values[index].tall
        return Value(
            GATHER,
            operands=(index,),
            access=access,
            stride=gathered.stride,
            limit=gathered.limit,
            tall=tall,
            wide=wide,
        )


def _wide(access: Access) -> bool:
    return access.column != 0 or access.far != 0
