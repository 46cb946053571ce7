"""Puts functions that became others, or take tables too, in the place of calls."""

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...partition.graph import function_names, op_name
from .tables import Tables


@dataclass(frozen=True, eq=False)
class Planned:
    """One of the functions that are called for a function, one after the other.

    Attributes
    ----------
    reads, writes : list of tirx.Buffer
        The function's parameters, as the first knew them, or as one of them made them.
    tables : list of numpy.ndarray
        Operands between the two.
    """

    name: str
    func: tirx.PrimFunc
    reads: list
    writes: list
    tables: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is called for a function with these parameters, inputs first."""

    params: list
    outputs: int
    steps: list[Planned]


def with_operands(func: tirx.PrimFunc, tables: Tables, outputs: int) -> tirx.PrimFunc:
    """Return a function that takes tables too, and has no need of them: it computes what is in."""
    if not tables.made:
        return func
    params = list(func.params)
    at = len(params) - outputs
    more = [buffer for buffer, _ in tables.made]
    return tirx.PrimFunc([*params[:at], *more, *params[at:]], func.body, func.ret_type, func.attrs)


def follow_plans(mod: tvm.IRModule, plans: dict[str, Plan]) -> tvm.IRModule:
    """Return the module with the functions of plans, and calls of them.

    Parameters
    ----------
    plans : dict of str to Plan
        By the function that is replaced.
    """
    rest = {gv: func for gv, func in mod.functions.items() if gv.name_hint not in plans}
    change = _FollowPlans(tvm.IRModule(rest, attrs=mod.attrs), plans)
    for plan in plans.values():
        for step in plan.steps:
            # New variables: the type of an old one has its operands.
            change.functions[step.name] = change.builder_.add_func(step.func, step.name)
    for gv in function_names(mod):
        change.builder_.update_func(gv, change.visit_expr(mod[gv]))
    return change.builder_.get()


@mutator
class _FollowPlans(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, plans: dict[str, Plan]):
        super().__init__(mod)
        self.plans = plans
        self.functions: dict[str, tvm.ir.GlobalVar] = {}

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        if op_name(call) != "call_tir" or call.args[0].name_hint not in self.plans:
            return call
        plan = self.plans[call.args[0].name_hint]
        inputs = plan.params[: len(plan.params) - plan.outputs]
        known = dict(zip(inputs, call.args[1].fields, strict=True))
        for step in plan.steps:
            if step.writes == plan.params[len(inputs) :]:
                return self.called(step, known, _types(call.ty_args[0]))
            types = [
                relax.TensorType([int(size) for size in buffer.shape], str(buffer.dtype))
                for buffer in step.writes
            ]
            made = self.builder_.emit(self.called(step, known, types))
            if len(step.writes) == 1:
                known[step.writes[0]] = made
                continue
            for at, buffer in enumerate(step.writes):
                known[buffer] = self.builder_.emit(relax.TupleGetItem(made, at))
        results = [known[buffer] for buffer in plan.params[len(inputs) :]]
        return relax.Tuple(results) if len(results) > 1 else results[0]

    def called(self, step: Planned, known: dict, types: list):
        given = [known[buffer] for buffer in step.reads]
        more = [relax.const(numbers) for numbers in step.tables]
        only = types if len(types) > 1 else types[0]
        return relax.call_tir(self.functions[step.name], [*given, *more], only)


def _types(results) -> list:
    """Return the types of a call's results."""
    return list(results.fields) if isinstance(results, relax.TupleType) else [results]
