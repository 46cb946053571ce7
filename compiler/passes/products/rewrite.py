"""Rewrites a module's products into those that the array knows."""

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...names import Names, read_names, with_names
from ...partition.graph import Graph, function_names, op_name
from . import registry
from .computed import with_computed


@mutator
class _Rewrite(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, graph: Graph, names: Names):
        super().__init__(mod)
        self.making = registry.Making(self.builder_, graph, names)

    def visit_call_(self, call):
        rewrite = registry.REWRITES.get(op_name(call))
        new = self.visit_expr_post_order(call)
        if rewrite is None:
            return new
        found = rewrite(self.making, call, list(new.args))
        return new if found is None else self.builder_.normalize(found)


def as_products(mod: tvm.IRModule) -> tvm.IRModule:
    """Return the module with convolutions of two dimensions and plain matrix products.

    Of what can be written so: one and three dimensions, transposed ones, products that broadcast,
    with stacks of constants or a constant on the left, and attention.
    """
    attrs, given = mod.attrs, read_names(mod)
    mod, names = with_computed(mod, given)
    for gv in function_names(mod):
        rewrite = _Rewrite(mod, Graph(mod[gv]), names)
        rewrite.builder_.update_func(gv, rewrite.visit_expr(mod[gv]))
        mod = rewrite.builder_.get()
        names = {**names, **rewrite.making.renamed}
    mod = relax.transform.DeadCodeElimination()(mod)
    mod = mod.with_attrs(attrs) if attrs else mod
    return mod if names == given else with_names(mod, names)
