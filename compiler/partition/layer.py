"""What a partition finds: layers that the array runs, and why the rest runs on the host."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

WEIGHTED = ("linear", "conv2d")
"""Kinds of layers whose weights are quantized while compiling."""


@dataclass
class Layer:
    """One accelerated operator with its fused neighbours.

    Attributes
    ----------
    kind : str
        ``linear``, ``conv2d`` or ``attention`` (two operands known at run time).
    root : tvm.relax.Expr
        Expression whose value the fused operator gives.
    x, other
        Inputs: activation; second operand of an attention matmul.
    weight : numpy.ndarray or None
        fp32 ``(out, in)``, for conv2d ``(out, in / groups, kh, kw)``.
    source : Layer or None
        Layer whose requantized rows this one reads as they are.
    order : numpy.ndarray or None
        Source's output channel of each of `weight`'s rows, None for the source's own order.
    columns : numpy.ndarray or None
        Source's input channel of each of `weight`'s columns, because a layer before has an `order`.
    folded : bool
        All readers expect that order.
    migration : str
        Where the factors went that divide `x`, of `rescale`; empty without migration.
    """

    kind: str
    name: str
    root: Any
    call: Any
    x: Any
    other: Any = None
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    residual: Any = None
    low: float | None = None
    high: float | None = None
    requantize: bool = False
    source: "Layer | None" = None
    order: np.ndarray | None = None
    columns: np.ndarray | None = None
    folded: bool = False
    migration: str = ""
    absorbed: list = field(default_factory=list)


@dataclass
class Partition:
    """What one function's partition found: layers in order, and reasons for host operators."""

    layers: list[Layer]
    host: list[tuple[str, str]]


class Replaced(NamedTuple):
    """What a layer computes with from now on: ``(groups, out, in)``, and ``(groups * out,)``."""

    values: np.ndarray
    shift: np.ndarray | None


def matrices(layer: Layer) -> np.ndarray:
    """Return a layer's weights as ``(groups, out, in)``: one matrix per group of a convolution."""
    if layer.kind == "linear":
        return layer.weight[None]
    groups = int(layer.call.attrs.groups)
    out = layer.weight.shape[0]
    return layer.weight.reshape(groups, out // groups, -1)
