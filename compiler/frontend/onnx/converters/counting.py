"""Range, Expand and Reshape of what follows from sizes that a call decides."""

import tvm
from tvm import relax, tirx

from ....partition.graph import op_name
from . import converter
from .theirs import by_tvm
from .values import dtype_of, known, sizes_of

MOVED = ("astype", "expand_dims", "reshape", "squeeze")
"""Of a single number they make that number."""
COMBINED = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
}


@converter("Range")
def _range(builder, inputs, attributes, opset):
    first, end, step = (_number(builder, each) for each in inputs)
    if _is_known(first) and _is_known(step) and end is not None and not _is_known(end):
        dtype = "int64" if tvm.ir.is_prim_expr(inputs[0]) else dtype_of(inputs[0])
        return relax.op.arange(int(first), end, int(step), dtype=dtype)
    return by_tvm("Range", builder, inputs, attributes, opset)


@converter("Expand")
def _expand(builder, inputs, attributes, opset):
    x, target = inputs
    sizes = target.values if isinstance(target, relax.ShapeExpr) else known(target)
    if sizes is None or all(isinstance(size, int) for size in sizes_of(x)):
        return by_tvm("Expand", builder, inputs, attributes, opset)
    wanted = [size if isinstance(size, relax.Expr) else int(size) for size in sizes]
    have = list(sizes_of(x))
    rank = max(len(wanted), len(have))
    wanted, have = ([1] * (rank - len(each)) + each for each in (wanted, have))
    # Each broadcasts the other.
    pairs = zip(wanted, have, strict=True)
    shape = [size if _is_one(there) else there for size, there in pairs]
    return relax.op.broadcast_to(x, relax.ShapeExpr(shape))


@converter("Reshape")
def _reshape(builder, inputs, attributes, opset):
    x, shape = inputs
    if tvm.ir.is_prim_expr(x) and (sizes := known(shape)) is not None and len(sizes) == 1:
        return relax.ShapeExpr([x])
    return by_tvm("Reshape", builder, inputs, attributes, opset)


def _is_one(size) -> bool:
    return _is_known(size) and int(size) == 1


def _is_known(number) -> bool:
    return isinstance(number, int | tirx.IntImm)


def _number(builder, expr):
    """Return a single integer: a number, or an expression of sizes; None if it's neither."""
    while isinstance(expr, relax.Var) and not tvm.ir.is_prim_expr(expr):
        expr = builder.lookup_binding(expr)
    if expr is None or tvm.ir.is_prim_expr(expr):
        return expr
    if isinstance(expr, tvm.ir.GenericConst):
        values = expr.value.numpy()
        return int(values.item()) if values.size == 1 and values.dtype.kind in "iu" else None
    if isinstance(expr, relax.ShapeExpr):
        return expr.values[0] if len(expr.values) == 1 else None
    name = op_name(expr)
    if name in MOVED or name == "shape_to_tensor":
        return _number(builder, expr.args[0])
    if name in COMBINED:
        left, right = (_number(builder, each) for each in expr.args)
        return None if left is None or right is None else COMBINED[name](left, right)
    return None
