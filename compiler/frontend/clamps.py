"""Clamps as TVM's ONNX importer gives them: functions of TIR, with bounds computed of constants.

As operators they can be fused behind a product.
"""

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, tirx, topi
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..partition.graph import function_names, op_name, static_shape

CLAMPS = {
    "maximum": (topi.maximum, relax.op.maximum),
    "minimum": (topi.minimum, relax.op.minimum),
}
"""By what the names of these functions begin with: how they are made, and the operator."""


def clamps_as_operators(mod: tvm.IRModule) -> tvm.IRModule:
    """Call `maximum` and `minimum` with constants in the place of functions that are just these."""
    if not any(gv.name_hint.startswith(tuple(CLAMPS)) for gv in mod.functions):
        return mod
    mutate = _Clamps(mod)
    names = [gv.name_hint for gv in function_names(mod)]
    for gv in function_names(mod):
        mutate.builder_.update_func(gv, mutate.visit_expr(mod[gv]))
    found = mutate.builder_.get()
    found = found.with_attrs(mod.attrs) if mod.attrs else found
    # Bounds that are none leave another name of their operand. Then go functions that nothing calls
    # any more, and tests of bounds for being numbers.
    found = relax.transform.CanonicalizeBindings()(found)
    return relax.transform.DeadCodeElimination(names)(found)


@mutator
class _Clamps(PyExprMutator):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.mod = mod

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        name = op_name(call)
        if name == "isnan" and (value := self.scalar(call.args[0])) is not None:
            return relax.const(np.asarray(np.isnan(value)))
        if name == "where":
            condition, *both = map(self.scalar, call.args)
            if condition is not None and all(value is not None for value in both):
                return relax.const(both[0] if condition else both[1])
        if name == "call_tir":
            found = self.clamp(call)
            return call if found is None else found
        return call

    def scalar(self, expr) -> np.ndarray | None:
        """Return a constant of one element."""
        value = self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr
        value = expr if value is None else value
        if not isinstance(value, tvm.ir.GenericConst):
            return None
        array = value.value.numpy()
        return array if array.ndim == 0 else None

    def clamp(self, call):
        """Return the operator that a called function is, None if it's another function."""
        symbol, operands = call.args[0].name_hint, list(call.args[1])
        kind = next((name for name in CLAMPS if symbol.startswith(name)), None)
        if kind is None or not operands or static_shape(operands[0]) is None:
            return None
        made, operator = CLAMPS[kind]
        function = self.mod[call.args[0]]
        x, *rest = operands
        found = self.scalar(rest[0]) if rest else _only_number(function)
        if found is None or str(x.ty.dtype) != "float32":
            return None
        same = _made(made, x, rest[0] if rest else float(found))
        if not tvm_ffi.structural_equal(function.without_attr("global_symbol"), same):
            return None
        if np.isinf(found):
            none = found < 0 if kind == "maximum" else found > 0
            return x if none else None
        return self.builder_.normalize(operator(x, relax.const(np.float32(found))))


def _only_number(function: tirx.PrimFunc) -> float | None:
    """Return the constant with which a function compares what it stores."""
    node = function.body
    while not hasattr(node, "value"):
        inner = getattr(node, "block", None)
        node = getattr(node, "body", None) if inner is None else inner
        if node is None:
            return None
    sides = (getattr(node.value, "a", None), getattr(node.value, "b", None))
    found = [float(side.value) for side in sides if isinstance(side, tirx.FloatImm)]
    return found[0] if len(found) == 1 else None


def _made(function, x, bound) -> tirx.PrimFunc:
    """Return the function of TIR that TVM makes of a clamp."""
    builder = relax.BlockBuilder()
    operands = [relax.Var("x", x.ty)]
    operands += [relax.Var("bound", bound.ty)] if isinstance(bound, relax.Expr) else []
    with builder.function("main", operands):
        last = operands[1] if len(operands) > 1 else bound
        builder.emit_func_output(builder.emit_te(function, operands[0], last))
    (made,) = [each for each in builder.get().functions.values() if isinstance(each, tirx.PrimFunc)]
    return made.without_attr("global_symbol")
