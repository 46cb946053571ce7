"""Cuts blocks where conditions on places change, so that each piece computes one thing.

Padding and concatenation ask for each element where it is. In each piece the answers are known.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
from tvm import ir, tirx
from tvm_ffi import structural_map

from .axes import same_axes
from .blocks import Block
from .expressions import called, loads_of, replaced, variables_of
from .places import evaluate, place_expressions
from .refusal import Refused

MOST = 32
"""Pieces of a block."""
MOST_PLACES = 1 << 22
"""Places at which a condition is computed."""


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
    """Return the blocks, or their pieces.

    Raises
    ------
    Refused
        For conditions that no cuts across axes decide.
    """
    asked = [place_expressions(block.value) for block in blocks]
    if not any(asked):
        return [blocks]
    axes, names = same_axes(blocks)
    edges = {axis: {0, extent} for axis, extent in axes.extents.items()}
    for block, expressions, name in zip(blocks, asked, names, strict=True):
        for expression in expressions:
            for var, places in changes(expression, block.axes).items():
                edges[name[var]] |= places
    spans = {axis: list(itertools.pairwise(sorted(each))) for axis, each in edges.items()}
    many = [axis for axis, each in spans.items() if len(each) > 1]
    if math.prod(len(spans[axis]) for axis in many) > MOST:
        raise Refused(f"conditions cut it into more than {MOST} pieces")
    if any(axis in axes.reduced for axis in many):
        raise Refused("what it sums of an element depends on where that is")
    return [
        _piece(blocks, asked, names, dict(zip(axes.extents, each, strict=True)))
        for each in itertools.product(*spans.values())
    ]


def changes(expression, axes: dict) -> dict:
    """Return where along each axis an expression changes."""
    used = [var for var in axes if var in variables_of(expression)]
    if math.prod(axes[var] for var in used) > MOST_PLACES:
        raise Refused("what it computes of an element depends on several axes at once")
    grid = np.ix_(*(np.arange(axes[var]) for var in used))
    values = evaluate(expression, dict(zip(used, grid, strict=True)))
    if values is None:
        raise Refused("what it computes of an element depends on where that is")
    values = np.broadcast_to(values, [axes[var] for var in used])
    found = {}
    for at, var in enumerate(used):
        steps = np.diff(values.astype(np.int64), axis=at)
        others = tuple(axis for axis in range(len(used)) if axis != at)
        found[var] = {int(place) + 1 for place in np.flatnonzero(steps.any(axis=others))}
    return found


def _piece(blocks: list[Block], asked: list[list], names: list[dict], spans: dict) -> list[Block]:
    """Return the blocks over a part of their axes, with their conditions decided.

    What one writes for another is only there for the piece, and starts at 0.
    """
    inner = {block.buffer for block in blocks} - {blocks[-1].buffer}
    inner = {buffer for buffer in inner if any(_reads(block, buffer) for block in blocks)}
    fresh = {axis: tirx.Var(axis.name, str(axis.ty.dtype)) for axis in spans}
    found = []
    for block, expressions, name in zip(blocks, asked, names, strict=True):
        start = {var: np.int64(spans[name[var]][0]) for var in block.axes}
        here = {var: fresh[name[var]] for var in block.axes}
        moved = {
            var: here[var] + tirx.const(int(start[var]), str(var.ty.dtype)) if start[var] else new
            for var, new in here.items()
        }
        value = _settled(block.value, {each: evaluate(each, start) for each in expressions})
        value = structural_map(
            value, (ir.TensorLoad, lambda load, here=here: _kept(load, inner, here))
        )
        places = here if block.buffer in inner else moved
        low_high = {var: spans[name[var]] for var in block.axes}
        found.append(
            replace(
                block,
                indices=tuple(replaced(index, places) for index in block.indices),
                axes={here[var]: high - low for var, (low, high) in low_high.items()},
                reduced=tuple(here[var] for var in block.reduced),
                value=replaced(value, moved),
            )
        )
    return found


def _reads(block: Block, buffer) -> bool:
    return any(load.source.same_as(buffer) for load in loads_of(block.value))


def _kept(load, inner: set, here: dict):
    if load.source not in inner:
        return load
    return tirx.BufferLoad(load.source, [replaced(index, here) for index in load.indices])


def _settled(value, known: dict):
    """Return a value with some expressions as numbers, and without choices that these decide."""
    if value in known:
        return tirx.const(int(known[value]), str(value.ty.dtype))
    if isinstance(value, tirx.Select) or called(value) == "if_then_else":
        parts = value.args if isinstance(value, ir.Call) else [
            value.condition, value.true_value, value.false_value
        ]  # fmt: skip
        condition = _settled(parts[0], known)
        if isinstance(condition, tirx.IntImm):
            return _settled(parts[1] if int(condition) else parts[2], known)
        return tirx.Select(condition, *(_settled(part, known) for part in parts[1:]))
    if isinstance(value, ir.Call):
        return ir.Call(value.op, [_settled(arg, known) for arg in value.args], ret_ty=value.ty)
    if isinstance(value, tirx.Cast):
        inner = _settled(value.value, known)
        if isinstance(inner, tirx.IntImm) and str(value.ty.dtype) == "float32":
            return tirx.const(float(int(inner)), "float32")
        return tirx.Cast(str(value.ty.dtype), inner)
    if isinstance(value, tirx.Not):
        return tirx.Not(_settled(value.a, known))
    if not hasattr(value, "a") or not hasattr(value, "b"):
        return value
    one, other = _settled(value.a, known), _settled(value.b, known)
    if isinstance(value, tirx.And | tirx.Or):
        # A truth that is known leaves the other one, or decides.
        for known_one, rest in ((one, other), (other, one)):
            if isinstance(known_one, tirx.IntImm):
                return rest if bool(int(known_one)) == isinstance(value, tirx.And) else known_one
    return type(value)(one, other)
