"""Gives functions their tables: operands before the results, in the function and in its calls."""

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...partition.graph import function_names, op_name
from .tables import Tables


def with_operands(func: tirx.PrimFunc, tables: Tables, outputs: int) -> tirx.PrimFunc:
    """Return a function that takes tables too, and has no need of them: it computes what is in."""
    if not tables.made:
        return func
    params = list(func.params)
    at = len(params) - outputs
    more = [buffer for buffer, _ in tables.made]
    return tirx.PrimFunc([*params[:at], *more, *params[at:]], func.body, func.ret_type, func.attrs)


def pass_tables(mod: tvm.IRModule, tables: dict[str, list[np.ndarray]]) -> tvm.IRModule:
    """Return the module with tables as the last operands of calls.

    Parameters
    ----------
    tables : dict of str to list of numpy.ndarray
        By function.
    """
    if not tables:
        return mod
    rest = {gv: func for gv, func in mod.functions.items() if gv.name_hint not in tables}
    change = _PassTables(tvm.IRModule(rest, attrs=mod.attrs), tables)
    for name in tables:
        # A new variable: the old one's type has fewer operands.
        change.functions[name] = change.builder_.add_func(mod[name], name)
    for gv in function_names(mod):
        change.builder_.update_func(gv, change.visit_expr(mod[gv]))
    return change.builder_.get()


@mutator
class _PassTables(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, tables: dict[str, list[np.ndarray]]):
        super().__init__(mod)
        self.tables = tables
        self.functions: dict[str, tvm.ir.GlobalVar] = {}

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        if op_name(call) != "call_tir" or call.args[0].name_hint not in self.tables:
            return call
        more = [relax.const(numbers) for numbers in self.tables[call.args[0].name_hint]]
        types = call.ty_args[0]
        types = list(types.fields) if isinstance(types, relax.TupleType) else types
        return relax.call_tir(
            self.functions[call.args[0].name_hint], [*call.args[1].fields, *more], types
        )
