"""The tree of a scheduled GEMM, from its decisions alone.

It equals what `read_tree` finds in the scheduled PrimFunc (a test compares them), in a fiftieth of
the time: a tuner emits hundreds of candidates a second.
"""

from ...target.formats import GROUP_SIZE
from ...target.packing import blocks
from ..operators import Gemm
from ..tiling.tile import GemmTile, columns_inside, round_up
from .tree import Linear, Loop, Stage

ZERO = Linear()
Tree = tuple[Loop, dict[str, tuple[int, ...]]]


def gemm_tree(op: Gemm, tile: GemmTile) -> Tree:
    """Return the root and the shape of each stage's buffer, as `read_tree` does."""
    return _Nest(op, tile).build()


class _Nest:
    """The loops of one GEMM, and what stands in them."""

    def __init__(self, op: Gemm, tile: GemmTile):
        self.op, self.tile = op, tile
        self.block = round_up(min(op.n, GROUP_SIZE), tile.array_n)
        self.group = round_up(min(op.k, GROUP_SIZE), tile.array_k)
        self.tiles = blocks(op.m, tile.tile_m)
        self.root = Loop("root", 1)
        self.path: tuple[Loop, ...] = ()
        self.body = self.root.body
        self.shapes: dict[str, tuple[int, ...]] = {}

    def loop(self, extent: int, step: int = 1) -> Linear:
        """Open a loop in the innermost one, unless it has one iteration."""
        if extent == 1:
            return ZERO
        loop = Loop("loop", extent)
        self.body.append(loop)
        self.path, self.body = (*self.path, loop), loop.body
        return Linear(0, ((loop, step),))

    def stage(self, name: str, starts: tuple, extents: tuple, shape: tuple = ()) -> None:
        self.body.append(Stage(name, starts, self.path, extents))
        if shape:
            self.shapes[name] = shape

    def build(self) -> Tree:
        op, tile = self.op, self.tile
        self.i, self.c = self.loop(op.batch), self.loop(op.conv_groups)
        self.nb, self.m = ZERO, ZERO
        if tile.w_home == "all":
            self.w_stage(op.column_blocks, op.groups)
        if tile.x_home == "all":
            self.x_stage(self.tiles * tile.tile_m, op.groups)
        for axis in ("nb", "m") if tile.order == "columns" else ("m", "nb"):
            if axis == "nb":
                self.columns()
            else:
                self.rows()
        self.products()
        self.epilogue()
        return self.root, self.shapes

    def columns(self) -> None:
        op = self.op
        self.nb = self.loop(op.column_blocks)
        if self.tile.w_home == "block":
            self.w_stage(1, op.groups)
        if not op.weight_format:
            extents = (1, 1, self.block, op.groups)
            shape = (op.batch, op.column_blocks, self.block, op.groups)
            self.stage("w_exponent_tile", (self.i, self.nb, ZERO, ZERO), extents, shape)
        if op.bias and self.tile.order == "columns":
            self.bias_stage()

    def bias_stage(self) -> None:
        shape = (self.op.conv_groups, self.op.column_blocks, self.block)
        self.stage("bias_tile", (self.c, self.nb, ZERO), (1, 1, self.block), shape)

    def rows(self) -> None:
        op, tile = self.op, self.tile
        self.m = self.loop(self.tiles, tile.tile_m)
        if tile.x_home == "tile":
            self.x_stage(tile.tile_m, op.groups)
        if op.conv:
            self.stage("x_exponent_tile", (self.i, ZERO), (1, 1), (op.batch, 1))
        else:
            shape = (op.batch, self.tiles * tile.tile_m, op.groups)
            extents = (1, tile.tile_m, op.groups)
            self.stage("x_exponent_tile", (self.i, self.m, ZERO), extents, shape)

    def x_stage(self, rows: int, groups: int, g: Linear = ZERO) -> None:
        op = self.op
        shape = (op.batch, op.conv_groups, op.groups, self.tiles * self.tile.tile_m, self.group)
        starts = (self.i, self.c, g, self.m, ZERO)
        self.stage("x_tile", starts, (1, 1, groups, rows, self.group), shape)

    def w_stage(self, columns: int, groups: int, g: Linear = ZERO) -> None:
        op = self.op
        lead, count = (self.c, op.conv_groups) if op.weight_format else (self.i, op.batch)
        shape = (count, op.column_blocks, op.groups, self.block, self.group)
        extents = (1, columns, groups, self.block, self.group)
        self.stage("w_tile", (lead, self.nb, g, ZERO, ZERO), extents, shape)

    def products(self) -> None:
        """Add the loop over groups of inputs, and close it."""
        op, tile = self.op, self.tile
        outer, body = self.path, self.body
        g = self.loop(op.groups)
        if tile.w_home == "group":
            self.w_stage(1, 1, g)
        if tile.x_home == "group":
            self.x_stage(tile.tile_m, 1, g)
        rows, whole = tile.tile_m, (op.batch, op.conv_groups)
        padded = self.tiles * rows
        at = (self.i, self.c, g, self.nb, self.m)
        sums = (*whole, op.groups, op.column_blocks, padded, self.block)
        self.stage("psum_init", (*at, ZERO), (1, 1, 1, 1, rows, self.block), sums)
        inner, inner_body = self.path, self.body
        columns, inputs = (self.block, tile.array_n), (self.group, tile.array_k)
        inside = columns_inside(op, tile)
        if inside:
            ks = self.loop(inputs[0] // inputs[1], inputs[1])
        ns = self.loop(columns[0] // columns[1], columns[1])
        if not inside:
            ks = self.loop(inputs[0] // inputs[1], inputs[1])
        lead = self.c if op.weight_format else self.i
        starts = (*at, ns, lead, self.nb, g, ns, ks)
        sizes = (1, 1, 1, 1, rows, tile.array_n, 1, 1, 1, tile.array_n, tile.array_k)
        self.stage("psum_update_o", starts, sizes)
        self.path, self.body = inner, inner_body
        if op.weight_format:
            scales = (op.conv_groups, op.column_blocks, op.groups, self.block)
            box = (1, 1, 1, self.block)
            self.stage("w_scale_tile", (self.c, self.nb, g, ZERO), box, scales)
        results = (*whole, op.column_blocks, padded, self.block)
        at_y = (self.i, self.c, self.nb, self.m, ZERO, g)
        self.stage("y", at_y, (1, 1, 1, rows, self.block, 1), results)
        self.path, self.body = outer, body

    def epilogue(self) -> None:
        op, rows = self.op, self.tile.tile_m
        if op.bias and self.tile.order == "rows":
            self.bias_stage()
        names = ["y_bias"] * op.bias + ["residual_tile", "y_residual"] * op.residual
        names += ["y_clamp"] * (op.low is not None or op.high is not None)
        if op.requantize:
            names += ["bits", "exponent", "out_exponent", "q"]
        whole = (op.batch, op.conv_groups, op.column_blocks, self.tiles * rows)
        at, box = (self.i, self.c, self.nb, self.m), (1, 1, 1, rows)
        for name in [*names, "out"]:
            if name in ("exponent", "out_exponent"):
                self.stage(name, at, box, whole)
            else:
                shape = whole if name == "bits" else (*whole, self.block)
                self.stage(name, (*at, ZERO), (*box, self.block), shape)
