"""Loads at places that other elements say: embeddings, and whatever is taken by index."""

from dataclasses import dataclass

from tvm import ir, tirx

from .expressions import loads_of


@dataclass(frozen=True, eq=False)
class Gathered:
    """A load by index.

    Attributes
    ----------
    index : ir.Expr
        Of `limit` rows, `stride` elements from each other.
    rest : list of ir.Expr
        The load's indices, 0 where the index stands.
    """

    index: ir.Expr
    stride: int
    limit: int
    rest: list


def gather_of(load: ir.TensorLoad) -> Gathered | None:
    """Return what a load takes by index; None of a load at places of its own."""
    sizes = [int(size) for size in load.source.shape]
    at = [place for place, index in enumerate(load.indices) if loads_of(index)]
    if not at:
        return None
    strides = [1] * len(sizes)
    for place in reversed(range(len(sizes) - 1)):
        strides[place] = strides[place + 1] * sizes[place + 1]
    zero = {place: tirx.const(0, str(load.indices[place].ty.dtype)) for place in at}
    rest = [zero.get(place, index) for place, index in enumerate(load.indices)]
    if len(at) == 1:
        return Gathered(load.indices[at[0]], strides[at[0]], sizes[at[0]], rest)
    # Of several indices one is made, in elements.
    index = tirx.const(0, "int32")
    for place in at:
        each = load.indices[place]
        index = index + tirx.Cast("int32", each) * tirx.const(strides[place], "int32")
    span = sum(strides[place] * (sizes[place] - 1) for place in at)
    return Gathered(index, 1, span + 1, rest)
