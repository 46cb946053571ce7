"""Trees of hardware loops and stages, from a scheduled PrimFunc or from a table of stages."""

import functools
from dataclasses import dataclass, field

from tvm import s_tir, tirx
from tvm.sym import detect_linear_equation

from ...target.errors import UnsupportedError
from ..tiling.nest import Nest
from ..tir.intrinsics import ACC, WBUF


@dataclass(eq=False)
class LoopNode:
    """A loop that stays a loop in the program."""

    name: str
    extent: int
    body: list = field(default_factory=list)


@dataclass(frozen=True)
class Linear:
    """``base + sum(step * counter of loop)``: what an address generator computes."""

    base: int = 0
    terms: tuple[tuple[LoopNode, int], ...] = ()

    def __add__(self, other: "Linear | int") -> "Linear":
        if isinstance(other, int):
            return Linear(self.base + other, self.terms)
        merged = dict(self.terms)
        for loop, step in other.terms:
            merged[loop] = merged.get(loop, 0) + step
        terms = tuple((loop, step) for loop, step in merged.items() if step)
        return Linear(self.base + other.base, terms)

    def __mul__(self, factor: int) -> "Linear":
        terms = tuple((loop, step * factor) for loop, step in self.terms if factor)
        return Linear(self.base * factor, terms)

    def within(self, loops: list[LoopNode]) -> "Linear":
        """Return this with the counters of all other loops at 0."""
        return Linear(self.base, tuple(term for term in self.terms if term[0] in loops))


@dataclass(frozen=True, eq=False)
class StageNode:
    """One block: its name in the expression, where its tile starts and how far it reaches.

    `node["m"]` is where it starts along an axis of its row in the table of stages.
    """

    name: str
    axes: tuple[str, ...]
    starts: tuple[Linear, ...]
    loops: tuple[LoopNode, ...]
    extents: tuple[int, ...]

    def __getitem__(self, axis: str) -> Linear:
        return self.starts[self.axes.index(axis)]

    def extent(self, axis: str) -> int:
        """Return how far it reaches along an axis."""
        return self.extents[self.axes.index(axis)]


def read_tree(func: tirx.PrimFunc, nest: Nest) -> LoopNode:
    """Return the root, a loop of one iteration, of a scheduled PrimFunc.

    Layers of one shape share a function, and each is emitted again wherever there is room for it:
    the function is read once, and whoever asks gets a tree to change.
    """
    return _copied(_read(func, tuple((stage.name, stage.axes) for stage in nest.stages.values())))


@functools.lru_cache(maxsize=256)
def _read(func: tirx.PrimFunc, axes: tuple[tuple[str, tuple[str, ...]], ...]) -> LoopNode:
    root = LoopNode("root", 1)
    _visit(func.body, root, (), {}, dict(axes))
    return root


def _copied(root: LoopNode) -> LoopNode:
    """Return loops and stages of their own in the place of those of a tree that was just read."""
    copies: dict[LoopNode, LoopNode] = {}

    def linear(value: Linear) -> Linear:
        return Linear(value.base, tuple((copies[loop], step) for loop, step in value.terms))

    def copied(node):
        if isinstance(node, LoopNode):
            copies[node] = LoopNode(node.name, node.extent)
            copies[node].body = [copied(child) for child in node.body]
            return copies[node]
        starts = tuple(linear(start) for start in node.starts)
        loops = tuple(copies[loop] for loop in node.loops)
        return StageNode(node.name, node.axes, starts, loops, node.extents)

    return copied(root)


def nest_tree(nest: Nest) -> LoopNode:
    """Return the root of a nest from its table alone, without a PrimFunc.

    It equals what `read_tree` finds in the function that is scheduled by the same table (a test
    compares them), in a fiftieth of the time: a tuner emits hundreds of candidates a second.
    """
    root = LoopNode("root", 1)
    for part in nest.parts or (nest,):
        _fill(part, 0, root.body, (), {})
    return root


def _fill(nest: Nest, depth: int, body: list, path: tuple[LoopNode, ...], starts: dict) -> None:
    """Add the stages of a loop, and around the loop inside it those that it needs and makes."""
    before_core = True
    after: list[StageNode] = []
    for stage in nest.stages.values():
        before_core = before_core and stage.name != nest.core
        if nest.depth(stage.name) != depth:
            continue
        # A load stands before the loop that has its reader.
        early = before_core or (stage.feeds in nest.stages and nest.depth(stage.feeds) > depth)
        at = tuple(starts.get(axis, Linear()) for axis in stage.axes)
        node = StageNode(stage.name, stage.axes, at, path, nest.box(stage.name))
        (body if early else after).append(node)
    if depth < len(nest.loops):
        axis = nest.axes[nest.loops[depth]]
        if int(axis.trips) == 1:  # for the largest sizes, so for all
            _fill(nest, depth + 1, body, path, starts)
        else:
            loop = LoopNode(axis.label, axis.trips)
            body.append(loop)
            inside = {**starts, nest.loops[depth]: Linear(0, ((loop, axis.step),))}
            _fill(nest, depth + 1, loop.body, (*path, loop), inside)
    body += after


def _visit(stmt, parent: LoopNode, path: tuple[LoopNode, ...], env: dict, axes: dict) -> None:
    if isinstance(stmt, tirx.SeqStmt):
        for child in stmt.seq:
            _visit(child, parent, path, env, axes)
    elif isinstance(stmt, tirx.For) and _is_box(stmt):
        parent.body.append(_box(stmt, path, env, axes))
    elif isinstance(stmt, tirx.For) and int(stmt.extent) == 1:
        _visit(stmt.body, parent, path, {**env, stmt.loop_var: Linear()}, axes)
    elif isinstance(stmt, tirx.For):
        loop = LoopNode(stmt.loop_var.name, int(stmt.extent))
        parent.body.append(loop)
        env = {**env, stmt.loop_var: Linear(0, ((loop, 1),))}
        _visit(stmt.body, loop, (*path, loop), env, axes)
    elif isinstance(stmt, s_tir.SBlockRealize) and len(stmt.block.match_buffers):
        parent.body.append(_tensorized(stmt, path, env, axes))
    elif isinstance(stmt, s_tir.SBlockRealize) and len(stmt.block.iter_vars):
        parent.body.append(_box(stmt, path, env, axes))
    elif isinstance(stmt, s_tir.SBlockRealize):
        _visit(stmt.block.body, parent, path, env, axes)
    else:
        raise UnsupportedError(f"the emitter knows no {type(stmt).__name__} statement:\n{stmt}")


def _is_box(stmt) -> bool:
    """Tell whether a loop nest is one stage's box: a single block that is no intrinsic."""
    while isinstance(stmt, tirx.For):
        stmt = stmt.body
    return isinstance(stmt, s_tir.SBlockRealize) and not len(stmt.block.match_buffers)


def _box(stmt, path, env, axes) -> StageNode:
    """Read a copy or vector stage; its tile starts where the loops of its box are 0."""
    box = {}
    while isinstance(stmt, tirx.For):
        box[stmt.loop_var] = int(stmt.extent)
        stmt = stmt.body
    still = {**env, **dict.fromkeys(box, Linear())}
    starts = tuple(_linear(value, still) for value in stmt.iter_values)
    # With every counter but the box's at 0, the last index says how far the box reaches.
    ends = {**dict.fromkeys(env, Linear()), **{var: Linear(n - 1) for var, n in box.items()}}
    extents = tuple(_linear(value, ends).base + 1 for value in stmt.iter_values)
    name = stmt.block.name_hint
    return StageNode(name, axes[name], starts, tuple(path), extents)


def _tensorized(realize, path, env, axes) -> StageNode:
    """Read the matmul: starts of its accumulator region, then of its weight region."""
    block = realize.block
    inner = {
        iv.var: _linear(value, env)
        for iv, value in zip(block.iter_vars, realize.iter_values, strict=True)
    }
    regions = {match.buffer.scope(): match.source.region for match in block.match_buffers}
    bounds = [*regions[ACC], *regions[WBUF]]
    starts = tuple(_linear(bound.min, inner) for bound in bounds)
    extents = tuple(int(bound.extent) for bound in bounds)
    return StageNode(block.name_hint, axes[block.name_hint], starts, tuple(path), extents)


def _linear(expr, env: dict) -> Linear:
    """Return an index expression over variables whose values are linear in the loops."""
    variables = list(env)
    if not variables:
        return Linear(int(expr))
    coefficients = [int(value) for value in detect_linear_equation(expr, variables)]
    if not coefficients:
        raise UnsupportedError(f"index isn't linear in the loops: {expr}")
    total = Linear(coefficients[-1])
    for variable, step in zip(variables, coefficients[:-1], strict=True):
        total = total + env[variable] * step
    return total
