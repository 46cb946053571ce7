"""The kinds of layers: how each is emitted for the array, and for the host with its weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import relax

from ...partition.layer import Layer
from . import attention, conv2d, given, integers, linear
from .emission import Emission


@dataclass(frozen=True)
class LayerKind:
    """A kind of layer.

    Attributes
    ----------
    on_array : callable
        ``(emission, layer)``: emits quantized operators, returns the value of the layer's root.
    on_host : callable or None
        ``(emission, layer, values)``: the same with the values ``(groups, out, in)`` of quantized
        weights in fp32; of kinds that have weights.
    """

    on_array: Callable[[Emission, Layer], relax.Expr]
    on_host: Callable[[Emission, Layer, np.ndarray], relax.Expr] | None = None


LAYER_KINDS = {
    "linear": LayerKind(linear.on_array, linear.on_host),
    "conv2d": LayerKind(conv2d.on_array, conv2d.on_host),
    "attention": LayerKind(attention.on_array),
    "int_linear": LayerKind(integers.linear),
    "int_conv2d": LayerKind(integers.conv2d),
    "int_matmul": LayerKind(integers.matmul),
    "given_linear": LayerKind(given.linear),
    "given_conv2d": LayerKind(given.conv2d),
    "given_blocks": LayerKind(given.blocks),
}
"""By `Layer.kind`."""
