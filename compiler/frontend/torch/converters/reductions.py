"""Extremes along dimensions."""

from tvm import relax
from tvm.relax import op

from .registry import arguments, converter

EXTREMES = {"amax": op.max, "amin": op.min}


@converter("amax.default", "amin.default")
def extreme(node, importer) -> relax.Var:
    x, axes, keep = arguments(node, importer, (), False)
    reduce = EXTREMES[node.target.__name__.split(".")[0]]
    return importer.block_builder.emit(reduce(x, axis=list(axes) or None, keepdims=keep))
