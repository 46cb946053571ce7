"""A product and the vector operator that takes its result on, as one function."""

from functools import partial

from ...target.arch import Arch
from ...target.isa.program import Function
from ..emit.emit import emit_tree
from ..emit.state import Room, ScheduledTree
from ..emit.then import lower_then
from ..emit.tree import nest_tree
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
