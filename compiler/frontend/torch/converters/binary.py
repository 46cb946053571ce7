"""Operators of two operands, in the type that torch promotes them to.

TVM's importer gives a Python number the type of the tensor beside it, so that 0.5 is 0 beside
integers, divides integers as C does, and leaves out the factor `alpha` of sums.
"""

from collections.abc import Callable

from tvm import relax
from tvm.relax import op

from .registry import converter

OPERATORS: dict[str, Callable] = {
    "add": op.add,
    "sub": op.subtract,
    "mul": op.multiply,
    "div": op.divide,
    "eq": op.equal,
    "ne": op.not_equal,
    "lt": op.less,
    "le": op.less_equal,
    "gt": op.greater,
    "ge": op.greater_equal,
    "pow": op.power,
    "maximum": op.maximum,
    "minimum": op.minimum,
    "remainder": op.floor_mod,
}
"""By ATen's name, with `Tensor` and `Scalar` overloads."""
OVERLOADS = ("Tensor", "Scalar", "default", "Tensor_Tensor", "Tensor_Scalar")


@converter(*(f"{name}.{overload}" for name in OPERATORS for overload in OVERLOADS))
def binary(node, importer) -> relax.Expr:
    """Emit an operator on operands of one type, the second one times `alpha` if there is one."""
    name = node.target.__name__.split(".")[0]
    left, right = node.args[:2]
    dtype = _common_type(importer, name, left, right)
    emit = importer.block_builder.emit
    operands = [_operand(importer, emit, each, dtype) for each in (left, right)]
    alpha = node.kwargs.get("alpha", 1)
    if alpha != 1:
        operands[1] = emit(op.multiply(operands[1], relax.const(alpha, dtype)))
    if name == "pow" and "float" not in dtype:
        # LLVM has powers of floats alone; float64 is exact up to 2^53.
        wide = [emit(op.astype(each, "float64")) for each in operands]
        return emit(op.astype(emit(op.round(emit(op.power(*wide)))), dtype))
    return emit(OPERATORS[name](*operands))


def _common_type(importer, name: str, left, right) -> str:
    import torch

    values = [each.meta["val"] if hasattr(each, "meta") else each for each in (left, right)]
    common = torch.result_type(*values)
    if name == "div" and not common.is_floating_point:
        common = torch.get_default_dtype()
    return importer._convert_data_type(common)


def _operand(importer, emit, value, dtype: str) -> relax.Expr:
    if not hasattr(value, "meta"):
        return relax.const(value, dtype)
    found = importer.env[value]
    return found if str(found.ty.dtype) == dtype else emit(op.astype(found, dtype))


@converter("where.self")
def where(node, importer) -> relax.Expr:
    """Emit a choice between operands of one type."""
    condition, left, right = node.args
    dtype = _common_type(importer, "where", left, right)
    emit = importer.block_builder.emit
    operands = [_operand(importer, emit, each, dtype) for each in (left, right)]
    return emit(op.where(importer.env[condition], *operands))


@converter("clamp.default")
def clamp(node, importer) -> relax.Expr:
    """Emit a clamp; of integers in the type that its bounds make of them, and without infinities.

    TVM's own is right for floats, and later steps know what it gives.
    """
    x, low, high = [*node.args, None, None][:3]
    low, high = node.kwargs.get("min", low), node.kwargs.get("max", high)
    dtype = str(importer.env[x].ty.dtype)
    if "float" in dtype:
        return importer._clamp(node)
    emit = importer.block_builder.emit
    result = importer.env[x]
    for bound in (low, high):
        if isinstance(bound, float):
            dtype = _common_type(importer, "clamp", x, bound)
    result = result if str(result.ty.dtype) == dtype else emit(op.astype(result, dtype))
    for bound, emitted in ((low, op.maximum), (high, op.minimum)):
        if bound is not None:
            result = emit(emitted(result, relax.const(bound, dtype)))
    return result
