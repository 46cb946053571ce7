"""Repairs of what this TVM's frontends leave behind."""

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from .graph import op_name


@mutator
class _CumsumMutator(PyExprMutator):
    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        if op_name(call) == "cumsum" and str(call.args[0].ty.dtype) == "bool":
            numbers = relax.op.astype(call.args[0], "int64")
            return self.builder_.normalize(
                relax.op.cumsum(numbers, axis=int(call.attrs.axis), dtype="int64")
            )
        return call


def repair_cumsum(mod: tvm.IRModule) -> tvm.IRModule:
    """Count in int64 where the torch frontend sums booleans: LLVM has no sum of bools."""
    if not any("cumsum" in str(f) for f in mod.functions.values() if _is_relax(f)):
        return mod
    mutate = _CumsumMutator(mod)
    for gv, function in list(mod.functions.items()):
        if _is_relax(function):
            mutate.builder_.update_func(gv, mutate.visit_expr(function))
    return mutate.builder_.get().with_attrs(mod.attrs) if mod.attrs else mutate.builder_.get()


def _is_relax(function) -> bool:
    return isinstance(function, relax.Function)
