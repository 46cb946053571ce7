"""Axes cut into turns and places of a turn, where expressions divide by a turn's length."""

from dataclasses import replace

from tvm import ir, sym, tirx
from tvm_ffi import structural_map, structural_walk

from .blocks import Block
from .expressions import loads_of, replaced


def periods_of(expressions: list, kinds: tuple) -> dict:
    """Return by which constant each variable is divided; the last where there are several."""
    found: list = []
    for expression in expressions:
        structural_walk(expression, (kinds, found.append))
    return {
        node.a: int(node.b)
        for node in found
        if isinstance(node.a, tirx.Var) and isinstance(node.b, tirx.IntImm)
    }


def cut(block: Block, periods: dict) -> Block:
    """Return a block whose axes with a period are two: turns, and places of a turn."""
    axes: dict = {}
    places: dict = {}
    analyzer = sym.Analyzer()
    for var, extent in block.axes.items():
        period = periods.get(var, 1)
        if period == 1 or extent % period or extent == period or var in block.reduced:
            axes[var] = extent
            continue
        dtype = str(var.ty.dtype)
        turn, place = tirx.Var(f"{var.name}_turn", dtype), tirx.Var(f"{var.name}_place", dtype)
        axes |= {turn: extent // period, place: period}
        places[var] = turn * tirx.const(period, dtype) + place
    if not places:
        return block
    for var, extent in axes.items():
        analyzer.bind(var, ir.Range(0, extent))

    def simple(load):
        indices = [analyzer.simplify(index, 3) for index in load.indices]
        return tirx.BufferLoad(load.source, indices)

    value = structural_map(replaced(block.value, places), (ir.TensorLoad, simple))
    indices = tuple(replaced(index, places) for index in block.indices)
    return replace(block, axes=axes, indices=indices, value=value)


def cut_where_read(blocks: list[Block]) -> list[Block]:
    """Return blocks that read others' results at whole turns of an axis with two axes for that."""
    written = {block.buffer for block in blocks}
    return [cut(block, periods_of(_between(block, written), (tirx.FloorDiv,))) for block in blocks]


def _between(block: Block, written: set) -> list:
    return [
        index for load in loads_of(block.value) if load.source in written for index in load.indices
    ]
