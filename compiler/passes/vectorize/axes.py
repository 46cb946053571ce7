"""One set of axes for all blocks of a function, along which every access is a stride.

Blocks meet in the buffers between them: what one writes along an axis, another reads along one of
its own, so the two are the same. Where an access goes through a reshape, an axis falls into the
parts that the divisions ask for; axes that every access takes one after the other become one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tvm import ir, sym, tirx
from tvm.sym.iter_affine_map import IterMapLevel

from .blocks import Block
from .expressions import loads_of, replaced
from .refusal import Refused


@dataclass(eq=False)
class Axes:
    """Extents by variable, outermost first, and those that some block reduces."""

    extents: dict[tirx.Var, int] = field(default_factory=dict)
    reduced: set = field(default_factory=set)


def same_axes(blocks: list[Block]) -> tuple[Axes, list[dict]]:
    """Return the axes of all blocks, and for each block its variables as axes.

    Raises
    ------
    Refused
        When a block reads what another wrote at other places than its own.
    """
    parent: dict[tirx.Var, tirx.Var] = {}
    extents = {var: extent for block in blocks for var, extent in block.axes.items()}

    def find(var):
        while var in parent:
            var = parent[var]
        return var

    written: dict[tirx.Buffer, Block] = {}
    for block in blocks:
        for load in loads_of(block.value):
            if load.source in written:
                _join(load, written[load.source], find, parent, extents)
        written[block.buffer] = block
    _join_columns(blocks, find, parent, extents)
    axes = Axes()
    for block in reversed(blocks):
        for var, extent in block.axes.items():
            axes.extents.setdefault(find(var), extent)
        axes.reduced |= {find(var) for var in block.reduced}
    return axes, [{var: find(var) for var in block.axes} for block in blocks]


def _join(load, writer: Block, find, parent, extents) -> None:
    for mine, its in zip(load.indices, writer.indices, strict=True):
        both = isinstance(mine, tirx.Var) and isinstance(its, tirx.Var)
        if both and extents[mine] == extents[its]:
            if not find(mine).same_as(find(its)):
                parent[find(mine)] = find(its)
        elif not all(_is_first(index, extents) for index in (mine, its)):
            raise Refused(f"{load.source.name} is read at other places than it is written")


def _join_columns(blocks: list[Block], find, parent, extents) -> None:
    """Make one of a reduced axis and others as long that no block has beside it.

    A block's axis that no other knows is only a way through a row: sum and norm go the same.
    """
    reduced = list(dict.fromkeys(var for block in blocks for var in block.reduced))
    for column in reduced:
        for block in blocks:
            for var in block.axes:
                one, other = find(column), find(var)
                if one.same_as(other) or extents[one] != extents[other] or extents[one] == 1:
                    continue
                classes = [{find(each) for each in every.axes} for every in blocks]
                if not any({one, other} <= each for each in classes):
                    parent[other] = one


def _is_first(index, extents: dict) -> bool:
    """Tell whether an index can be nothing but 0."""
    if isinstance(index, tirx.Var):
        return extents[index] == 1
    return isinstance(index, tirx.IntImm) and int(index) == 0


def flat_offset(buffer: tirx.Buffer, indices) -> ir.Expr:
    """Return the place of an element among all of a compact buffer."""
    offset = tirx.const(0, "int64")
    for size, index in zip(buffer.shape, indices, strict=True):
        offset = offset * tirx.Cast("int64", size) + tirx.Cast("int64", index)
    return offset


def strided(
    offsets: list[ir.Expr], axes: Axes
) -> tuple[Axes, list[tuple[int, dict[tirx.Var, int]]]]:
    """Return axes along which all offsets are strides, and each offset's start and strides.

    Raises
    ------
    Refused
        For an access that no splitting of axes makes linear.
    """
    for _ in range(4):
        found = [_linear(offset, axes) for offset in offsets]
        crooked = [offset for offset, one in zip(offsets, found, strict=True) if one is None]
        if not crooked:
            return axes, [one for one in found if one is not None]
        axes, offsets = _split(crooked, offsets, axes)
    raise Refused("its elements don't lie along strides")


def _analyzer(axes: Axes) -> sym.Analyzer:
    analyzer = sym.Analyzer()
    for var, extent in axes.extents.items():
        analyzer.bind(var, ir.Range(0, extent))
    return analyzer


def _linear(offset, axes: Axes) -> tuple[int, dict[tirx.Var, int]] | None:
    variables = list(axes.extents)
    offset = _analyzer(axes).simplify(offset, 5)
    if not variables:
        return int(offset), {}
    numbers = sym.detect_linear_equation(offset, variables)
    if not len(numbers):
        return None
    if not all(isinstance(number, tirx.IntImm) for number in numbers):
        return None
    strides = {var: int(n) for var, n in zip(variables, numbers[:-1], strict=True)}
    return int(numbers[-1]), strides


def _split(crooked: list, offsets: list, axes: Axes) -> tuple[Axes, list]:
    """Return the axes cut where divisions ask for it, and the offsets in them."""
    cuts: dict[tirx.Var, set[int]] = {var: set() for var in axes.extents}
    ranges = {var: ir.Range(0, extent) for var, extent in axes.extents.items()}
    for offset in crooked:
        simple = _analyzer(axes).simplify(offset, 5)
        found = sym.detect_iter_map(
            [simple], ranges, check_level=IterMapLevel.NoCheck, simplify_trivial_iterators=False
        )
        for split in _splits(found.indices):
            low = int(split.lower_factor)
            cuts[split.source.source] |= {low, low * int(split.extent)}
    parts: dict[tirx.Var, int] = {}
    reduced, places = set(), {}
    for var, extent in axes.extents.items():
        edges = sorted(cut for cut in cuts[var] if 1 < cut < extent)
        if any(high % low for low, high in pairwise([*edges, extent])):
            raise Refused("its elements don't lie along strides")
        place = tirx.const(0, str(var.ty.dtype))
        for high, low in zip([extent, *reversed(edges)], [*reversed(edges), 1], strict=True):
            new = tirx.Var(f"{var.name}_{low}", str(var.ty.dtype))
            parts[new] = high // low
            place = place + new * tirx.const(low, str(var.ty.dtype))
            if var in axes.reduced:
                reduced.add(new)
        places[var] = place
    if len(parts) == len(axes.extents):
        raise Refused("its elements don't lie along strides")
    moved = [replaced(offset, places) for offset in offsets]
    return Axes(parts, reduced), moved


def _splits(sums) -> Iterator[sym.IterSplitExpr]:
    """Yield the parts of variables in an iteration map, which nests them."""
    for total in sums:
        for split in total.args:
            source = split.source.source
            if isinstance(source, tirx.Var):
                yield split
            elif isinstance(source, sym.IterSumExpr):
                yield from _splits([source])


def merged(axes: Axes, strides: list[dict[tirx.Var, int]]) -> tuple[Axes, list[dict]]:
    """Return the axes with those made one that every access takes one after the other."""
    order = [var for var in axes.extents if axes.extents[var] > 1]
    kept: list[tirx.Var] = []
    extents = dict(axes.extents)
    for var in order:
        before = kept[-1] if kept else None
        together = before is not None and (before in axes.reduced) == (var in axes.reduced)
        if together and all(
            one.get(before, 0) == extents[var] * one.get(var, 0) for one in strides
        ):
            extents[var] *= extents[before]
            kept[-1] = var
        else:
            kept.append(var)
    return Axes({var: extents[var] for var in kept}, axes.reduced & set(kept)), strides
