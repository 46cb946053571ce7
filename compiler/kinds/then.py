"""Two operators as one function: the second takes on what the first makes."""

from dataclasses import replace
from functools import partial

from ...target.arch import Arch
from ...target.isa.program import Function
from ..emit.emit import emit_tree
from ..emit.quantize import lower_quantize
from ..emit.state import Room, ScheduledTree
from ..emit.then import lower_then
from ..emit.tree import nest_tree
from ..operators import Quantize
from ..tiling.moved import Moved
from ..tiling.then import Steps, then_nest
from ..tiling.tile import GemmTile
from .registry import kind_of


def emit_then(
    steps: Steps,
    tile: GemmTile,
    arch: Arch,
    names: tuple[str, str],
    weights: bytes,
    room: Room | None = None,
) -> Function:
    """Return the function of a product with the steps of a vector operator behind its tiles.

    Parameters
    ----------
    steps : Steps
        What `tiling.then.following` returned.
    names : tuple of str
        Of the function, and of its layer.

    Raises
    ------
    CapacityError
        When its buffers don't fit the memories of the architecture.
    IsaError
        When it needs more registers or semaphores than there are.
    """
    op = steps.op
    nest = then_nest(kind_of(op).nest(op, tile, weights), steps)
    tree = ScheduledTree(op, tile, nest, nest_tree(nest))
    return emit_tree(tree, partial(lower_then, steps), arch, *names, weights, room)


def emit_moved(
    behind: Moved, op: Quantize, arch: Arch, names: tuple[str, str], room: Room | None = None
) -> Function:
    """Return the function of a quantization that reads values from before they were moved.

    Parameters
    ----------
    behind : Moved
        What `tiling.moved.moved` returned.
    op : Quantize
        The quantization as it is alone.
    """
    kind = kind_of(op)
    tile = kind.default_tile(behind.op, arch)
    nest = kind.nest(behind.op, tile, b"")
    tree = ScheduledTree(behind.op, tile, nest, nest_tree(nest))
    lower = partial(lower_quantize, strides=behind.strides)
    function = emit_tree(tree, lower, arch, *names, b"", room)
    x, codes, exponents = function.arguments
    groups = (op.batch, op.rows, op.groups)
    shapes = (behind.shape, op.shape, groups)
    pairs = zip((x, codes, exponents), shapes, strict=True)
    return replace(function, arguments=tuple(replace(each, shape=s) for each, s in pairs))
