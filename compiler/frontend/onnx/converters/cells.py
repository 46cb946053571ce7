"""The steps of LSTM, GRU and RNN, as ONNX defines their gates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import relax

from .activations import Activation
from .values import const, dtype_of, known

Steps = list[relax.Expr]
State = tuple[relax.Expr, ...]


def matmul(builder: relax.BlockBuilder, x: relax.Expr, weight: relax.Expr) -> relax.Expr:
    """Return a product; in the first step, both operands are often constants."""
    values, weights = known(x), known(weight)
    if values is None or weights is None:
        return builder.emit(relax.op.matmul(x, weight))
    return relax.const(values @ weights)


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent operator: its weights and attributes.

    Attributes
    ----------
    w, r : relax.Expr
        Of the input ``(input, gates * hidden)`` and of the state ``(hidden, gates * hidden)``;
        of an LSTM also anything else that `multiply` knows.
    w_bias, r_bias : relax.Expr or None
        ``(gates * hidden,)``.
    peepholes : relax.Expr or None
        ``(3 * hidden,)``.
    multiply : callable
        Called as ``multiply(builder, x, weight)`` for a product with `w` or `r`.
    """

    builder: relax.BlockBuilder
    attributes: dict[str, Any]
    hidden: int
    activations: list[Activation]
    w: Any
    r: Any
    w_bias: relax.Expr | None
    r_bias: relax.Expr | None
    peepholes: relax.Expr | None
    multiply: Callable[[relax.BlockBuilder, relax.Expr, Any], relax.Expr] = matmul

    def emit(self, expr: relax.Expr) -> relax.Expr:
        return self.builder.emit(expr)

    def gates(self, expr: relax.Expr, count: int) -> Steps:
        """Split the last axis into one tensor for each gate."""
        if count == 1:
            return [expr]
        parts = self.emit(relax.op.split(expr, count, axis=-1))
        return [self.emit(relax.TupleGetItem(parts, place)) for place in range(count)]

    def bias(self, expr: relax.Expr, bias: relax.Expr | None) -> relax.Expr:
        return expr if bias is None else self.emit(relax.op.add(expr, bias))

    def product(self, x: relax.Expr, weight: Any) -> relax.Expr:
        """Multiply inputs or a state with weights."""
        return self.multiply(self.builder, x, weight)

    def clipped(self, expr: relax.Expr) -> relax.Expr:
        """Bound what an activation is given, where the operator says so."""
        limit = self.attributes.get("clip")
        return expr if limit is None else self.emit(relax.op.clip(expr, -limit, limit))

    def act(self, place: int, expr: relax.Expr) -> relax.Expr:
        return self.emit(self.activations[place](self.clipped(expr)))


def lstm_step(at: Direction, x: relax.Expr, state: State) -> State:
    """Return the next (h, c) from a step's product with W."""
    h, c = state
    product = at.product(h, at.r)
    i, o, f, g = at.gates(at.emit(relax.op.add(x, at.bias(product, at.r_bias))), 4)
    p_i = p_o = p_f = None
    if at.peepholes is not None:
        p_i, p_o, p_f = at.gates(at.peepholes, 3)

    def peep(gate, weight, cell):
        if weight is None:
            return gate
        return at.emit(relax.op.add(gate, at.emit(relax.op.multiply(weight, cell))))

    i = at.act(0, peep(i, p_i, c))
    if at.attributes.get("input_forget"):
        f = at.emit(relax.op.subtract(const(1, dtype_of(i)), i))
    else:
        f = at.act(0, peep(f, p_f, c))
    kept, new = relax.op.multiply(f, c), relax.op.multiply(i, at.act(1, g))
    c = at.emit(relax.op.add(at.emit(kept), at.emit(new)))
    o = at.act(0, peep(o, p_o, c))
    return at.emit(relax.op.multiply(o, at.act(2, c))), c


def gru_step(at: Direction, x: relax.Expr, state: State) -> State:
    """Return the next (h,) from a step's product with W."""
    (h,) = state
    after = bool(at.attributes.get("linear_before_reset"))
    x_z, x_r, x_h = at.gates(x, 3)
    if after:
        product = at.bias(at.product(h, at.r), at.r_bias)
        h_z, h_r, h_h = at.gates(product, 3)
    else:
        r_zr, r_h = columns(at, at.r, 2 * at.hidden)
        b_zr, b_h = (None, None) if at.r_bias is None else columns(at, at.r_bias, 2 * at.hidden)
        h_z, h_r = at.gates(at.bias(at.product(h, r_zr), b_zr), 2)
    z = at.act(0, at.emit(relax.op.add(x_z, h_z)))
    r = at.act(0, at.emit(relax.op.add(x_r, h_r)))
    if after:
        part = at.emit(relax.op.multiply(r, h_h))
    else:
        part = at.bias(at.emit(relax.op.matmul(at.emit(relax.op.multiply(r, h)), r_h)), b_h)
    new = at.act(1, at.emit(relax.op.add(x_h, part)))
    rest = at.emit(relax.op.subtract(const(1, dtype_of(z)), z))
    old = at.emit(relax.op.multiply(z, h))
    return (at.emit(relax.op.add(at.emit(relax.op.multiply(rest, new)), old)),)


def rnn_step(at: Direction, x: relax.Expr, state: State) -> State:
    """Return the next (h,) from a step's product with W."""
    product = at.bias(at.product(state[0], at.r), at.r_bias)
    return (at.act(0, at.emit(relax.op.add(x, product))),)


@dataclass(frozen=True)
class Cell:
    """A recurrent operator: gates, tensors of its state, step and activations by default."""

    gates: int
    states: int
    step: Callable[[Direction, relax.Expr, State], State]
    activations: tuple[str, ...]


CELLS = {
    "LSTM": Cell(4, 2, lstm_step, ("Sigmoid", "Tanh", "Tanh")),
    "GRU": Cell(3, 1, gru_step, ("Sigmoid", "Tanh")),
    "RNN": Cell(1, 1, rnn_step, ("Tanh",)),
}


def columns(at: Direction, expr: relax.Expr, first: int) -> tuple[relax.Expr, relax.Expr]:
    """Return the first columns and the others, of a constant as constants."""
    values = known(expr)
    if values is not None:
        return relax.const(values[..., :first].copy()), relax.const(values[..., first:].copy())
    parts = at.emit(relax.op.split(expr, [first], axis=-1))
    return at.emit(relax.TupleGetItem(parts, 0)), at.emit(relax.TupleGetItem(parts, 1))
