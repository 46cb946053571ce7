"""Changes of Python sources, by their syntax trees.

Left out, because no test of behaviour could tell: docstrings and other strings, what is raised or
asserted, f-strings (all of them messages), annotations, decorators (sizes of caches) and imports.
"""

import ast
import copy
from collections.abc import Callable, Iterator

from .change import Change

FLIPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
EXTREMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}
MESSAGES = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)
UNSEEN_FIELDS = {"annotation", "returns", "decorator_list", "type_comment"}

Put = Callable[[ast.AST], None]
"""Puts another node in a node's place."""


def python_changes(source: str) -> list[Change]:
    """Return every change of a source."""
    tree = ast.parse(source)
    bound_again, lines = _bound_again(tree), source.splitlines()

    def change(node: ast.AST, new: ast.AST, put: Put) -> Change:
        def changed() -> str:
            put(new)
            try:
                return ast.unparse(tree)
            finally:
                put(node)

        what = f"{_short(node)} -> {_short(new)}"
        if isinstance(node, ast.Constant):
            line = lines[node.lineno - 1]
            changed_line = line[: node.col_offset] + _short(new)[1:-1] + line[node.end_col_offset :]
            what = f"`{line.strip()}` -> `{changed_line.strip()}`"
        return Change(node.lineno, what, changed)  # type: ignore[attr-defined]

    return [
        change(node, new, put) for node, put in _nodes(tree) for new in _variants(node, bound_again)
    ]


def _nodes(parent: ast.AST) -> Iterator[tuple[ast.AST, Put]]:
    """Yield the nodes below one that may be changed, each with how to put another in its place."""
    for field, value in ast.iter_fields(parent):
        if field in UNSEEN_FIELDS:
            continue
        for number, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST) or isinstance(node, MESSAGES):
                continue

            def put(new, field=field, number=number, value=value):
                if isinstance(value, list):
                    value[number] = new
                else:
                    setattr(parent, field, new)

            yield node, put
            if not isinstance(node, ast.Raise):
                yield from _nodes(node)


def _variants(node: ast.AST, bound_again: set[ast.AST]) -> Iterator[ast.AST]:
    """Yield what may stand instead of a node."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                for flipped in FLIPS[type(operator)]:
                    ops = [*node.ops[:number], flipped(), *node.ops[number + 1 :]]
                    yield _with(node, ops=ops)
        case ast.BinOp():
            if type(node.op) in SWAPS:
                yield _with(node, op=SWAPS[type(node.op)]())
            if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
                yield node.left
                yield node.right
        case ast.AugAssign() if type(node.op) in SWAPS:
            yield _with(node, op=SWAPS[type(node.op)]())
            yield _nothing(node)
        case ast.BoolOp():
            yield _with(node, op=SWAPS[type(node.op)]())
            for number in range(len(node.values)):
                rest = [*node.values[:number], *node.values[number + 1 :]]
                yield rest[0] if len(rest) == 1 else _with(node, values=rest)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=value) if type(value) in (int, float):
            yield _with(node, value=value + 1)
            yield _with(node, value=value - 1)
        case ast.Call(func=ast.Name(id=name)) if name in EXTREMES:
            yield _with(node, func=_with(node.func, id=EXTREMES[name]))
        case ast.Call(func=ast.Attribute(attr=name)) if name in EXTREMES:
            yield _with(node, func=_with(node.func, attr=EXTREMES[name]))
        case ast.If() | ast.While() | ast.IfExp():
            yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            yield _nothing(node)
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield _nothing(node)
        case ast.Assign(targets=[ast.Name()]) if node in bound_again:
            yield _nothing(node)


def _bound_again(tree: ast.AST) -> set[ast.AST]:
    """Return the assignments to names that a function had before: without them it still runs."""
    found: set[ast.AST] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        first = {a.arg: function.lineno for a in ast.walk(function.args) if isinstance(a, ast.arg)}
        names = (n for n in ast.walk(function) if isinstance(n, ast.Name))
        for name in names:
            if isinstance(name.ctx, ast.Store):
                first[name.id] = min(first.get(name.id, name.lineno), name.lineno)
        found |= {
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and first[node.targets[0].id] < node.lineno
        }
    return found


def _with(node: ast.AST, **fields) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _nothing(node: ast.AST) -> ast.AST:
    return ast.copy_location(ast.Pass(), node)


def _short(node: ast.AST) -> str:
    """Return a node as source in one line, a block by its head."""
    lines = ast.unparse(node).splitlines()
    return f"`{lines[0]}`"
