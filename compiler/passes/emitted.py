"""Functions of a module's operators: emitted once, and again wherever a run has room for them."""

import json
from collections.abc import Callable, Mapping

from ...target.arch import Arch
from ...target.errors import CapacityError, IsaError
from ...target.isa.program import Function
from ..emit.state import Room
from ..kinds.registry import emit, emit_tile, from_attribute, kind_of
from ..kinds.then import emit_moved, emit_then
from ..operators import Gemm, Quantize, Vector
from ..symbolic import largest, symbols_of
from ..tiling.moved import moved
from ..tiling.then import following
from ..tiling.tile import TILE, GemmTile

JOINT = "+"
"""Between the names of a product and of the operator that takes its tiles on."""


class Emitted:
    """Functions emitted so far."""

    def __init__(self, arch: Arch, schedules: Mapping, layers: Mapping, progress):
        self.arch, self.schedules, self.layers = arch, schedules, layers
        self.progress = progress
        self.functions: dict[str, Function] = {}
        self.sources: dict[str, tuple[str, bytes]] = {}

    def emit(self, symbol: str, attribute: str, weights: bytes) -> None:
        if symbol in self.functions:
            return
        self.sources[symbol] = attribute, weights
        self.functions[symbol] = self.at(symbol)
        if self.progress:
            layer = self.layers[symbol].layer
            self.progress(len(self.functions), len(self.layers), layer)

    def then(
        self, first: str, second: str, argument: int, room: Room | None = None
    ) -> Function | None:
        """Return the function of two operators of which the second takes on what the first makes.

        None where it can't be: of other operators, and when it fits no tile.

        Parameters
        ----------
        argument : int
            Of the second, which the first gives.
        """
        pair = [from_attribute(self.sources[name][0]) for name in (first, second)]
        join = JOINS.get((type(pair[0]), type(pair[1])))
        if join is None:
            return None
        layers = (self.layers[first].layer, self.layers[second].layer)
        names = (f"{first}{JOINT}{second}", f"{layers[0]} {JOINT} {layers[1]}")
        try:
            return join(self, first, *pair, argument, names, room)
        except (CapacityError, IsaError):
            return None

    def product(self, first: str, op: Gemm, vector: Vector, argument: int, names, room):
        """Return the function of a product with a vector operator behind each tile."""
        steps = following(op, vector, argument)
        if steps is None:
            return None
        weights = self.sources[first][1]
        return emit_then(steps, self.tile(first, op), self.arch, names, weights, room)

    def values(self, _first: str, vector: Vector, op: Quantize, _argument: int, names, room):
        """Return the function of a quantization that reads values from before they were moved."""
        behind = moved(vector, op)
        return None if behind is None else emit_moved(behind, op, self.arch, names, room)

    def tile(self, symbol: str, op: Gemm) -> GemmTile:
        """Return the tile of a product's schedule."""
        schedule = self.schedules[self.sources[symbol][0]]
        return kind_of(op).tile(**json.loads(str(schedule.attrs[TILE])))

    def at(self, symbol: str, room: Room | None = None) -> Function:
        """Return a function with its buffers where a room says."""
        attribute, weights = self.sources[symbol]
        layer = self.layers[symbol].layer
        schedule, operator = self.schedules.get(attribute), from_attribute(attribute)
        if schedule is not None and not symbols_of(operator):
            return emit(schedule, self.arch, symbol, layer, weights, room)
        if schedule is not None:  # it's that of the largest sizes
            tile = kind_of(operator).tile(**json.loads(str(schedule.attrs[TILE])))
        else:
            tile = kind_of(operator).default_tile(largest(operator), self.arch)
        return emit_tile(operator, tile, self.arch, symbol, layer, weights, room)


JOINS: dict[tuple[type, type], Callable] = {
    (Gemm, Vector): Emitted.product,
    (Vector, Quantize): Emitted.values,
}
"""Operators that may be one function, by their types."""
