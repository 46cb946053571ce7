"""Divisions that round, and constants that TVM's importer has no form for."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .registry import arguments, converter, refused


@converter("div.Tensor_mode", "div.Scalar_mode")
def rounded_division(node, importer) -> relax.Var:
    """Divide and round; a Python number has the type of the tensor beside it."""
    x, y, mode = arguments(node, importer)
    emit = importer.block_builder.emit
    if not isinstance(y, relax.Expr):
        fits = isinstance(y, int) or "float" in str(x.ty.dtype)
        if not fits:
            x = emit(op.astype(x, "float32"))
        y = relax.const(y, str(x.ty.dtype))
    kinds = {str(x.ty.dtype), str(y.ty.dtype)}
    if len(kinds) > 1:
        raise refused(node, f"operands must have one type; they have {', '.join(sorted(kinds))}")
    if mode == "floor":
        return emit(op.floor_divide(x, y))
    if mode == "trunc":
        quotient = emit(op.divide(x, y))
        # Relax divides integers as C does, towards zero.
        return emit(op.trunc(quotient)) if "float" in str(x.ty.dtype) else quotient
    return emit(op.divide(x, y))


@converter("tril_indices.default", "triu_indices.default")
def triangle(node, importer) -> relax.Var:
    """Return the rows and columns of a triangle, which are known while compiling."""
    rows, columns, offset = _numbers(node)
    lower = node.target.__name__.startswith("tril")
    found = (np.tril_indices if lower else np.triu_indices)(rows, offset, columns)
    return importer.block_builder.emit(relax.const(np.stack(found), "int64"))


def _numbers(node) -> tuple[int, int, int]:
    rows, columns, *offset = node.args
    return rows, columns, offset[0] if offset else 0
