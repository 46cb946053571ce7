"""The kinds of operators that the array and the vector unit run: one row says all of a kind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import s_tir, tirx

from ...target.arch import Arch
from ...target.isa.program import Function
from ..emit.emit import Lower, emit_tree
from ..emit.state import Room, ScheduledTree
from ..emit.tree import nest_tree, read_tree
from ..operators import ATTRIBUTE, fields_of
from ..symbolic import largest
from ..tiling.nest import Nest
from ..tiling.tile import TILE


def _none(*_given) -> Any:
    raise TypeError("this kind of operator is read from TIR and emitted from its table of stages")


@dataclass(frozen=True)
class Kind:
    """A kind of operator.

    Attributes
    ----------
    read : callable
        Gives the descriptor of the fields of its text form.
    tile : type
        Its decisions.
    default_tile : callable
        ``(op, arch)``: decisions that nobody measured.
    tiles : callable
        ``(op, arch)``: all that may be tuned, in a fixed order; none of a kind without choices.
    cost : callable or None
        ``(op, tile, arch)``: cycles by resource, of a kind with choices.
    nest : callable
        ``(op, tile, weights)``: the table of its stages.
    lower : callable
        ``(emitter, weights)``: arguments, buffers, and instructions of each stage.
    expression : callable
        ``(op)``: plain TIR, the reference on LLVM; not of a kind that is read from such TIR.
    schedule : callable
        ``(op, tile)``: the tiled PrimFunc; not of a kind whose table of stages says it all.
    """

    read: Callable[[dict], Any]
    tile: type
    default_tile: Callable[[Any, Arch], Any]
    nest: Callable[[Any, Any, bytes], Nest]
    lower: Lower
    expression: Callable[[Any], tirx.PrimFunc] = _none
    schedule: Callable[[Any, Any], s_tir.Schedule] = _none
    tiles: Callable[[Any, Arch], tuple] = lambda _op, _arch: ()
    cost: Callable[[Any, Any, Arch], Any] | None = None

    @property
    def has_schedule(self) -> bool:
        """It is scheduled as TIR before it is emitted."""
        return self.schedule is not _none

    @property
    def tunable(self) -> bool:
        """It has choices."""
        return self.cost is not None


KINDS: dict[str, Kind] = {}
"""By the name of the descriptor's class."""


def register(descriptor: type, kind: Kind) -> None:
    """Add a kind of operator."""
    KINDS[descriptor.__name__] = kind


def kind_of(op) -> Kind:
    """Return the kind of an operator."""
    return KINDS[type(op).__name__]


def cost_of(op, tile, arch: Arch):
    """Return what a tile of an operator costs by formula, of a kind with choices."""
    cost = kind_of(op).cost
    if cost is None:
        raise TypeError(f"{type(op).__name__} has no choices, so nothing estimates them")
    return cost(op, tile, arch)


def from_attribute(text: str):
    """Return the descriptor of a text form."""
    fields = fields_of(text)
    return KINDS[fields.pop("kind")].read(fields)


def scheduled(op, arch: Arch, tile=None) -> s_tir.Schedule:
    """Return the operator's tiled PrimFunc, by the default schedule unless a tile is given.

    Of sizes that only a call knows the largest ones are scheduled.
    """
    kind, op = kind_of(op), largest(op)
    return kind.schedule(op, tile or kind.default_tile(op, arch))


def emit(
    func: tirx.PrimFunc,
    arch: Arch,
    name: str,
    layer: str,
    weights: bytes,
    room: Room | None = None,
) -> Function:
    """Return the function of a scheduled PrimFunc.

    Parameters
    ----------
    func : tirx.PrimFunc
        Scheduled, with its operator and its decisions as attributes.
    weights : bytes
        Packed weight segment, empty for an operator without constant weights.

    Raises
    ------
    CapacityError
        When its buffers don't fit the memories of the architecture.
    """
    op = from_attribute(str(func.attrs[ATTRIBUTE]))
    kind = kind_of(op)
    tile = kind.tile(**json.loads(str(func.attrs[TILE])))
    nest = kind.nest(op, tile, weights)
    tree = ScheduledTree(op, tile, nest, read_tree(func, nest))
    return emit_tree(tree, kind.lower, arch, name, layer, weights, room)


def emit_tile(
    op, tile, arch: Arch, name: str, layer: str, weights: bytes, room: Room | None = None
) -> Function:
    """Return the function of an operator under decisions, without the PrimFunc in between."""
    kind = kind_of(op)
    nest = kind.nest(op, tile, weights)
    tree = ScheduledTree(op, tile, nest, nest_tree(nest))
    return emit_tree(tree, kind.lower, arch, name, layer, weights, room)
