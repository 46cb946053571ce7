"""LSTM, GRU and RNN: a product of all steps with W, then a product with R in each step.

A program has no loops over steps, so they are written out. A sequence that ends before others keeps
its state, and gives zeros from there on.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tvm import relax

from .....target.errors import UnsupportedError
from . import converter
from .activations import activations_of
from .cells import CELLS, Cell, Direction, State, Steps, columns, matmul
from .values import const, dtype_of, given, known, shape_of, text


def part_of(builder: relax.BlockBuilder, expr: relax.Expr, place: int, turn: bool) -> relax.Expr:
    """Return one entry of the first axis, transposed on request; of a constant a constant."""
    values = known(expr)
    if values is not None:
        return relax.const(np.ascontiguousarray(values[place].T if turn else values[place]))
    entry = builder.emit(relax.op.take(expr, relax.const(place, "int64"), axis=0))
    return builder.emit(relax.op.permute_dims(entry)) if turn else entry


class Weights(NamedTuple):
    """What a recurrent operator multiplies with.

    Attributes
    ----------
    directions, hidden : int
    of : callable
        From the place of a direction to its `w` and `r` in `Direction`.
    multiply : callable
        As in `Direction`.
    """

    directions: int
    hidden: int
    of: Callable[[int], tuple[Any, Any]]
    multiply: Callable = matmul


def _weights(builder: relax.BlockBuilder, inputs: list[relax.Expr | None]) -> Weights:
    directions, _, hidden = shape_of(inputs[2])

    def of(place: int) -> tuple[relax.Expr, relax.Expr]:
        w, r = (part_of(builder, each, place, True) for each in inputs[1:3])
        return w, r

    return Weights(directions, hidden, of)


def convert(
    name: str,
    builder: relax.BlockBuilder,
    inputs: list[relax.Expr | None],
    attributes: dict[str, Any],
    weights: Weights,
) -> relax.Expr:
    """Return all outputs of a recurrent operator."""
    cell, x = CELLS[name], inputs[0]
    batch_first = bool(attributes.get("layout", 0))
    if batch_first:
        x = builder.emit(relax.op.permute_dims(x, [1, 0, 2]))
    steps, batch, _ = shape_of(x)
    directions, hidden = weights.directions, weights.hidden
    way = text(attributes, "direction", "forward")
    if directions != (2 if way == "bidirectional" else 1):
        raise UnsupportedError(f"{name}: weights of {directions} direction(s) for '{way}'")
    acts = activations_of(name, attributes, cell.activations, directions)
    lengths = given(inputs, 4)
    if lengths is not None and (values := known(lengths)) is not None and (values == steps).all():
        lengths = None
    results, finals = [], []
    for place in range(directions):
        bias = given(inputs, 3)
        parts = (None, None)
        if bias is not None:
            both = part_of(builder, bias, place, False)
            whole = Direction(builder, attributes, hidden, [], None, None, None, None, None)
            parts = columns(whole, both, cell.gates * hidden)
        peepholes = given(inputs, 7) if name == "LSTM" else None
        at = Direction(
            builder,
            attributes,
            hidden,
            acts[place],
            *weights.of(place),
            *parts,
            None if peepholes is None else part_of(builder, peepholes, place, False),
            weights.multiply,
        )
        state = tuple(
            _initial(builder, given(inputs, 5 + number), place, batch_first, batch, hidden, x)
            for number in range(cell.states)
        )
        backward = way == "reverse" or place == 1
        outputs, last = _run(cell, at, x, state, lengths, backward)
        results.append(outputs)
        finals.append(last)
    y = [builder.emit(relax.op.stack(step, axis=0)) for step in zip(*results, strict=True)]
    whole = builder.emit(relax.op.stack(y, axis=0))  # (steps, directions, batch, hidden)
    ends = [builder.emit(relax.op.stack(states, axis=0)) for states in zip(*finals, strict=True)]
    if batch_first:
        whole = builder.emit(relax.op.permute_dims(whole, [2, 0, 1, 3]))
        ends = [builder.emit(relax.op.permute_dims(end, [1, 0, 2])) for end in ends]
    return relax.Tuple([whole, *ends])


def _initial(builder, expr, place, batch_first, batch, hidden, x) -> relax.Expr:
    """Return the state before the first step, zeros where none is given."""
    if expr is None:
        return relax.const(np.zeros((batch, hidden), dtype_of(x)))
    if batch_first:
        expr = builder.emit(relax.op.permute_dims(expr, [1, 0, 2]))
    return part_of(builder, expr, place, False)


def _run(
    cell: Cell, at: Direction, x: relax.Expr, state: State, lengths: relax.Expr | None,
    backward: bool,
) -> tuple[Steps, State]:  # fmt: skip
    """Return a direction's outputs in the order of the steps, and its last state."""
    steps, batch, width = shape_of(x)
    rows = at.emit(relax.op.reshape(x, (steps * batch, width)))
    product = at.bias(at.product(rows, at.w), at.w_bias)
    parts = at.emit(relax.op.split(product, steps, axis=0)) if steps > 1 else None
    outputs: Steps = [None] * steps
    for step in reversed(range(steps)) if backward else range(steps):
        part = product if parts is None else at.emit(relax.TupleGetItem(parts, step))
        new = cell.step(at, part, state)
        if lengths is not None:
            runs = relax.op.less(relax.const(step, dtype_of(lengths)), lengths)
            mask = at.emit(relax.op.reshape(at.emit(runs), (batch, 1)))
            zeros = const(0, dtype_of(x))
            outputs[step] = at.emit(relax.op.where(mask, new[0], zeros))
            new = tuple(
                at.emit(relax.op.where(mask, one, old)) for one, old in zip(new, state, strict=True)
            )
        else:
            outputs[step] = new[0]
        state = new
    return outputs, state


for _name in CELLS:

    def _converter(builder, inputs, attributes, _opset, name=_name):
        return convert(name, builder, inputs, attributes, _weights(builder, inputs))

    converter(_name)(_converter)
