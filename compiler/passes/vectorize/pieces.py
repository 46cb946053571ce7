"""Cuts a block where conditions on places change, so that each piece computes one thing.

Padding and concatenation ask for each element where it is. In each piece the answers are known.
"""

import itertools
from dataclasses import replace

import numpy as np
from tvm import ir, sym, tirx
from tvm_ffi import structural_map, structural_walk

from .axes import loads_of, replaced
from .blocks import Block
from .refusal import Refused

MOST = 32
"""Pieces of a block."""
COMPARE = {
    tirx.LT: np.less,
    tirx.LE: np.less_equal,
    tirx.GT: np.greater,
    tirx.GE: np.greater_equal,
    tirx.EQ: np.equal,
    tirx.NE: np.not_equal,
}


def apart(blocks: list[Block]) -> list[list[Block]]:
    """Return blocks in groups that have no buffer between them in common."""
    groups: list[list[Block]] = []
    for block in blocks:
        read = {load.source for load in loads_of(block.value)}
        mine = [group for group in groups if any(one.buffer in read for one in group)]
        groups = [group for group in groups if not any(group is one for one in mine)]
        groups.append([*itertools.chain(*mine), block])
    return groups


def pieces(blocks: list[Block]) -> list[list[Block]]:
    """Return the blocks, or the only one's pieces.

    Raises
    ------
    Refused
        For conditions that no cuts across axes decide.
    """
    asked = [_conditions(block) for block in blocks]
    if not any(asked):
        return [blocks]
    if len(blocks) > 1:
        raise Refused("what it computes of an element depends on where that is, in several steps")
    (block,), (conditions,) = blocks, asked
    edges = {var: {0, extent} for var, extent in block.axes.items()}
    for condition in conditions:
        var, places = _changes(condition, block.axes)
        if var is not None:
            edges[var] |= places
    spans = [list(itertools.pairwise(sorted(edges[var]))) for var in block.axes]
    if np.prod([len(each) for each in spans]) > MOST:
        raise Refused(f"conditions cut it into more than {MOST} pieces")
    return [
        [_piece(block, dict(zip(block.axes, each, strict=True)))]
        for each in itertools.product(*spans)
    ]


def _conditions(block: Block) -> list:
    """Return the comparisons of places in a block's value."""
    found: list = []

    def visit(node):
        if str(node.a.ty.dtype).startswith("int") and not _loads(node):
            found.append(node)

    structural_walk(block.value, (tuple(COMPARE), visit))
    return found


def _loads(node) -> bool:
    found: list = []
    structural_walk(node, (ir.TensorLoad, found.append))
    return bool(found)


def _changes(condition, axes: dict) -> tuple[tirx.Var | None, set[int]]:
    """Return the axis that decides a condition, and where along it the answer changes."""
    analyzer = sym.Analyzer()
    for var, extent in axes.items():
        analyzer.bind(var, ir.Range(0, extent))
    variables = list(axes)
    numbers = sym.detect_linear_equation(analyzer.simplify(condition.a - condition.b, 3), variables)
    if not len(numbers) or not all(isinstance(number, tirx.IntImm) for number in numbers):
        raise Refused("what it computes of an element depends on where that is")
    *steps, start = map(int, numbers)
    moving = [(var, step) for var, step in zip(variables, steps, strict=True) if step]
    if not moving:
        return None, set()
    if len(moving) > 1:
        raise Refused("what it computes of an element depends on several axes at once")
    ((var, step),) = moving
    answers = COMPARE[type(condition)](start + step * np.arange(axes[var]), 0)
    return var, {int(place) + 1 for place in np.flatnonzero(answers[1:] != answers[:-1])}


def _piece(block: Block, spans: dict) -> Block:
    """Return the block over a part of its axes, with its conditions decided."""
    analyzer, axes, moved = sym.Analyzer(), {}, {}
    for var, (low, high) in spans.items():
        new = tirx.Var(var.name, str(var.ty.dtype))
        axes[new] = high - low
        analyzer.bind(new, ir.Range(0, high - low))
        moved[var] = new + tirx.const(low, str(var.ty.dtype)) if low else new
    value = _decided(replaced(block.value, moved), analyzer)
    indices = tuple(replaced(index, moved) for index in block.indices)
    reduced = tuple(new for var, new in zip(block.axes, axes, strict=True) if var in block.reduced)
    if reduced:
        raise Refused("what it sums of an element depends on where that is")
    return replace(block, indices=indices, axes=axes, reduced=reduced, value=value)


def _decided(value, analyzer: sym.Analyzer):
    """Return a value without choices between places: the one that is taken."""

    def choose(call):
        if getattr(call.op, "name", "").rpartition(".")[2] != "if_then_else":
            return call
        condition = analyzer.simplify(call.args[0], 3)
        if isinstance(condition, tirx.IntImm):
            return call.args[1] if int(condition) else call.args[2]
        return call

    def select(node):
        condition = analyzer.simplify(node.condition, 3)
        if isinstance(condition, tirx.IntImm):
            return node.true_value if int(condition) else node.false_value
        return node

    return structural_map(value, ((ir.Call, choose), (tirx.Select, select)))
