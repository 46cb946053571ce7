"""What is fused behind a layer on the host."""

from tvm import relax

from ...partition.graph import shape_of
from ...partition.layer import Layer
from .emission import Emission


def emit_behind(emission: Emission, layer: Layer, y, channels: tuple[int, ...]):
    """Emit what was fused behind a product `y`, and give back the root's shape.

    Parameters
    ----------
    channels : tuple of int
        Shape in which the bias broadcasts with it.
    """
    if layer.bias is not None:
        y = emission.emit(relax.op.add(y, relax.const(layer.bias.reshape(channels))))
    if layer.residual is not None:
        residual = emission.reshaped(emission.visit_expr(layer.residual), shape_of(y))
        y = emission.emit(relax.op.add(y, residual))
    if layer.low is not None or layer.high is not None:
        low = float("-inf") if layer.low is None else layer.low
        high = float("inf") if layer.high is None else layer.high
        y = emission.emit(relax.op.clip(y, low, high))
    shape = emission.extents(shape_of(layer.root))
    return emission.builder_.normalize(relax.op.reshape(y, shape))
