"""Puts the forms that the vector unit can run in the place of operators."""

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...partition.graph import function_names, op_name, static_shape
from . import masked, ranked
from .forms import FORMS, Form

FORM_MODULES = masked, ranked
"""Their import registers the forms."""


def known_forms() -> dict[str, Form]:
    """Return the forms by the operator's name."""
    return dict(FORMS)


def legalized(mod: tvm.IRModule) -> tvm.IRModule:
    """Return the module with PrimFuncs for its operators."""
    legal = relax.transform.LegalizeOps()(formed(mod))
    # An operand that TVM takes from a tuple of constants is one, too, which folding doesn't see.
    return relax.transform.CanonicalizeBindings()(legal)


def formed(mod: tvm.IRModule) -> tvm.IRModule:
    """Return the module with the operators of `FORMS` as functions of blocks, where that pays."""
    change = _Formed(mod)
    for gv in function_names(mod):
        change.builder_.update_func(gv, change.visit_expr(mod[gv]))
    return change.builder_.get()


@mutator
class _Formed(PyExprMutator):
    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        make = FORMS.get(op_name(call))
        tensors = [arg for arg in call.args if isinstance(arg.ty, relax.TensorType)]
        if make is None or not all(map(static_shape, tensors)):
            return call
        made = make(self.builder_, call)
        return call if made is None else made
