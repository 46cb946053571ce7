"""Reads a scheduled PrimFunc into a plain tree of hardware loops and stages."""

from dataclasses import dataclass, field

from tvm import s_tir, tirx
from tvm.sym import detect_linear_equation

from ...target.errors import UnsupportedError
from ..tir.intrinsics import ACC, WBUF


@dataclass(eq=False)
class Loop:
    """A loop that stays a loop in the program."""

    name: str
    extent: int
    body: list = field(default_factory=list)


@dataclass(frozen=True)
class Linear:
    """``base + sum(step * counter of loop)``: what an address generator computes."""

    base: int = 0
    terms: tuple[tuple[Loop, int], ...] = ()

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

    def within(self, loops: list[Loop]) -> "Linear":
        """Return this with the counters of all other loops at 0."""
        return Linear(self.base, tuple(term for term in self.terms if term[0] in loops))


@dataclass(frozen=True, eq=False)
class Stage:
    """One block: its name in the expression, where its tile starts and how far it reaches."""

    name: str
    starts: tuple[Linear, ...]
    loops: tuple[Loop, ...]
    extents: tuple[int, ...]


def read_tree(func: tirx.PrimFunc) -> tuple[Loop, dict[str, tuple[int, ...]]]:
    """Return the root (a loop of one iteration) and the shape of each stage's buffer."""
    root = Loop("root", 1)
    shapes: dict[str, tuple[int, ...]] = {}
    _visit(func.body, root, (), {}, shapes)
    return root, shapes


def _visit(stmt, parent: Loop, path: tuple[Loop, ...], env: dict, shapes: dict) -> None:
    if isinstance(stmt, tirx.SeqStmt):
        for child in stmt.seq:
            _visit(child, parent, path, env, shapes)
    elif isinstance(stmt, tirx.For) and _is_box(stmt):
        parent.body.append(_box(stmt, path, env, shapes))
    elif isinstance(stmt, tirx.For) and int(stmt.extent) == 1:
        _visit(stmt.body, parent, path, {**env, stmt.loop_var: Linear()}, shapes)
    elif isinstance(stmt, tirx.For):
        loop = Loop(stmt.loop_var.name, int(stmt.extent))
        parent.body.append(loop)
        env = {**env, stmt.loop_var: Linear(0, ((loop, 1),))}
        _visit(stmt.body, loop, (*path, loop), env, shapes)
    elif isinstance(stmt, s_tir.SBlockRealize) and len(stmt.block.match_buffers):
        parent.body.append(_tensorized(stmt, path, env))
    elif isinstance(stmt, s_tir.SBlockRealize) and len(stmt.block.iter_vars):
        parent.body.append(_box(stmt, path, env, shapes))
    elif isinstance(stmt, s_tir.SBlockRealize):
        _visit(stmt.block.body, parent, path, env, shapes)
    else:
        raise UnsupportedError(f"the emitter knows no {type(stmt).__name__} statement:\n{stmt}")


def _is_box(stmt) -> bool:
    """Tell whether a loop nest is one stage's box: a single block that is no intrinsic."""
    while isinstance(stmt, tirx.For):
        stmt = stmt.body
    return isinstance(stmt, s_tir.SBlockRealize) and not len(stmt.block.match_buffers)


def _box(stmt, path, env, shapes) -> Stage:
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
    shapes[stmt.block.name_hint] = tuple(int(d) for d in stmt.block.writes[0].source.shape)
    return Stage(stmt.block.name_hint, starts, tuple(path), extents)


def _tensorized(realize, path, env) -> Stage:
    """Read the matmul: starts of its accumulator region, then of its weight region."""
    block = realize.block
    inner = {
        iv.var: _linear(value, env)
        for iv, value in zip(block.iter_vars, realize.iter_values, strict=True)
    }
    regions = {match.buffer.scope(): match.source.region for match in block.match_buffers}
    bounds = [*regions[ACC], *regions[WBUF]]
    starts = tuple(_linear(bound.min, inner) for bound in bounds)
    return Stage(block.name_hint, starts, tuple(path), tuple(int(bound.extent) for bound in bounds))


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
