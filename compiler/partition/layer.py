"""What a partition finds: layers that the array runs, and why the rest runs on the host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Layer:
    """One accelerated operator with its fused neighbours.

    Attributes
    ----------
    number : int
        Of this layer in its module, from 0 in the order of functions and operators. What passes
        find out about a layer is kept by it: a layer with other values is still the same layer.
    kind : str
        ``linear``, ``conv2d`` or ``attention`` (two operands known at run time); ``int_linear``,
        ``int_conv2d`` or ``int_matmul`` of integers that the source model gave; ``given_linear``,
        ``given_conv2d`` or ``given_blocks`` where it gave those of weights alone.
    call, root : tvm.relax.Expr
        The product, and the expression whose value the fused operator gives.
    x, other
        Inputs: activation; second operand of an attention matmul.
    weight : numpy.ndarray or None
        fp32 ``(out, in)``, for conv2d ``(out, in / groups, kh, kw)``; None for two activations.
    integers : numpy.ndarray or None
        int8 weights of the source model, in the shape of `weight`, which such a layer lacks.
    scale : numpy.ndarray or None
        fp32 ``(out,)`` of the integers, or ``(blocks, out)`` where each block of inputs has its
        own: their integers are ``(blocks * out, inputs of a block, 1, 1)``.
    groups : int
        Of a convolution; blocks.
    bias : numpy.ndarray or None
        fp32 ``(out,)``.
    residual
        Activation that is added to the result.
    low, high : float or None
        Clamp of the result.
    requantize : bool
        The result leaves as int8 rows, which only linear layers read.
    source : int or None
        Number of the layer whose requantized rows this one reads as they are.
    absorbed : tuple of tvm.relax.Expr
        The product and the operators behind it that the layer computes.
    """

    number: int
    kind: str
    name: str
    call: Any
    root: Any
    x: Any
    other: Any = None
    weight: np.ndarray | None = None
    groups: int = 1
    bias: np.ndarray | None = None
    residual: Any = None
    low: float | None = None
    high: float | None = None
    requantize: bool = False
    source: int | None = None
    absorbed: tuple = ()
    integers: np.ndarray | None = None
    scale: np.ndarray | None = None

    @property
    def matrix(self) -> np.ndarray:
        """The weight, of a layer whose kind has one."""
        if self.weight is None:
            raise TypeError(f"layer '{self.name}' ({self.kind}) has no constant weight")
        return self.weight

    @property
    def given(self) -> np.ndarray:
        """The source's int8 weights, of a layer whose kind has them."""
        if self.integers is None:
            raise TypeError(f"layer '{self.name}' ({self.kind}) has no integers of the source")
        return self.integers

    @property
    def factors(self) -> np.ndarray:
        """The scale of the integers, of a layer whose kind has one."""
        if self.scale is None:
            raise TypeError(f"layer '{self.name}' ({self.kind}) has no scale of the source")
        return self.scale


@dataclass(frozen=True, eq=False)
class Ordering:
    """Where the channels of a layer's weight come from, if not in the source's order.

    Attributes
    ----------
    rows : numpy.ndarray or None
        Source's output channel of each of the weight's rows, None for the source's own order.
    columns : numpy.ndarray or None
        Source's input channel of each of its columns, because a layer before has other `rows`.
    folded : bool
        All readers expect the order of `rows`.
    """

    rows: np.ndarray | None = None
    columns: np.ndarray | None = None
    folded: bool = False


IN_SOURCE_ORDER = Ordering()


@dataclass(frozen=True)
class Partition:
    """What one function's partition found.

    Attributes
    ----------
    layers : tuple of Layer
        In the order of the function.
    host : tuple of (str, str)
        Operators that the host runs, each with the reason.
    orderings : mapping of int to Ordering
        By the numbers of layers whose channels aren't in the source's order.
    names : tuple of str
        Of all that could be layers, those left in fp32 too.
    """

    layers: tuple[Layer, ...]
    host: tuple[tuple[str, str], ...]
    orderings: Mapping[int, Ordering] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def ordering(self, layer: Layer) -> Ordering:
        """Return the order of a layer's channels."""
        return self.orderings.get(layer.number, IN_SOURCE_ORDER)


class Replaced(NamedTuple):
    """What a layer computes with from now on: ``(groups, out, in)``, and ``(groups * out,)``."""

    values: np.ndarray
    shift: np.ndarray | None


def matrices(layer: Layer) -> np.ndarray:
    """Return a layer's weights as ``(groups, out, in)``: one matrix per group of a convolution."""
    return layer.matrix.reshape(layer.groups, len(layer.matrix) // layer.groups, -1)
