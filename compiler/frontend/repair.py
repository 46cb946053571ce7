"""Repairs of what this TVM's frontends leave behind."""

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..partition.graph import op_name, static_shape
from .clamps import clamps_as_operators
from .indices import check_indices


@mutator
class _Repair(PyExprMutator):
    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        if op_name(call) == "cumsum" and str(call.args[0].ty.dtype) == "bool":
            # LLVM has no sum of bools.
            numbers = relax.op.astype(call.args[0], "int64")
            return self.builder_.normalize(
                relax.op.cumsum(numbers, axis=int(call.attrs.axis), dtype="int64")
            )
        if op_name(call) == "matmul":
            matrix = self.repeated_matrix(call)
            if matrix is not None:
                return self.builder_.normalize(relax.op.matmul(call.args[0], matrix))
        if op_name(call) == "concat":
            return self.joined(call)
        return call

    def joined(self, call):
        """Return a concatenation without tensors that have no element.

        Rotary embedding of whole heads leaves such a rest, which no loop ever fills.
        """
        given = call.args[0]
        value = self.lookup_binding(given) if isinstance(given, relax.Var) else given
        if not isinstance(value, relax.Tuple):
            return call
        full = [part for part in value.fields if 0 not in (static_shape(part) or ())]
        if len(full) == len(value.fields) or not full:
            return call
        if len(full) == 1:
            return full[0]
        return self.builder_.normalize(relax.op.concat(full, axis=int(call.attrs.axis)))

    def repeated_matrix(self, call):
        """Return the matrix that a product repeats for each of its left matrices, if it does.

        Torch exports a linear layer of a transposed input so; for the array it is one matrix.
        """
        left, repeated = call.args
        value = self.lookup_binding(repeated) if isinstance(repeated, relax.Var) else repeated
        if op_name(value) != "broadcast_to":
            return None
        matrix, shape = value.args[0], static_shape(repeated)
        inner, rows = static_shape(matrix), static_shape(left)
        if inner is None or shape is None or rows is None or len(inner) < 2:
            return None
        if rows[:-2] != shape[:-2] or inner[-2:] != shape[-2:] or set(inner[:-2]) - {1}:
            return None
        if len(inner) == 2:
            return matrix
        return self.builder_.emit(relax.op.reshape(matrix, inner[-2:]))


def repair(mod: tvm.IRModule) -> tvm.IRModule:
    """Sum booleans as int64, multiply by one matrix instead of its copies, check indices.

    Clamps become operators, and what is joined has elements.
    """
    mod = clamps_as_operators(mod)
    mutate = _Repair(mod)
    for gv, function in list(mod.functions.items()):
        if isinstance(function, relax.Function):
            mutate.builder_.update_func(gv, mutate.visit_expr(function))
    found = mutate.builder_.get()
    return check_indices(found.with_attrs(mod.attrs) if mod.attrs else found)
