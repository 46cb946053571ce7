"""Tensors that follow from sizes alone, such as positions and masks, as beginnings of constants.

Where sizes are known, such tensors are constants. Where a call decides them, one is computed for
the largest sizes, and what is of a call's sizes is copied from its beginning.
"""

import math
from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...partition.graph import Graph, function_names, op_name, sized_shape
from ...sizes import number_of, symbol_of, variables_of
from ...symbolic import symbols_of
from ...tir.sizes import Extents
from .constants import HOST, MOST, folded
from .legal import legalized
from .prefix_rules import gathers_within, is_beginning, known_shape
from .sized import at_sizes, sizes_in


def with_prefixes(mod: tvm.IRModule) -> tvm.IRModule:
    """Return the module with beginnings of constants for what follows from sizes alone."""
    for gv in function_names(mod):
        variables = variables_of(mod[gv])
        if not variables or any(symbol_of(name) is None for name in variables):
            continue
        if places := _places(mod, Graph(mod[gv])):
            change = _Prefixes(mod, places, variables)
            change.builder_.update_func(gv, change.visit_expr(mod[gv]))
            found = change.builder_.get()
            mod = found.with_attrs(mod.attrs) if mod.attrs else found
    return mod


def _places(mod: tvm.IRModule, graph: Graph) -> dict[int, np.ndarray]:
    """Return by call the numbers for the largest sizes of which its result is a beginning."""
    numbers: dict[relax.Var, np.ndarray] = {}
    calls: dict[relax.Var, relax.Call] = {}
    while found := _of_sizes(mod, graph, numbers):
        # Those that gather wait until their indices are known.
        made = _computed(mod, graph, found, numbers)
        if not made:
            break
        numbers |= made
        calls |= {var: found[var] for var in made}
    sized = _follow_sizes(calls)
    ends = [
        var
        for var in calls
        if var in sized and any(user not in calls for user, _ in graph.users.get(var, []))
    ]
    return {hash(calls[var]): numbers[var] for var in ends}


def _of_sizes(
    mod: tvm.IRModule, graph: Graph, numbers: Mapping[relax.Var, np.ndarray]
) -> dict[relax.Var, relax.Call]:
    """Return more bindings that follow from constants and sizes alone, by rules for all of them."""
    found: dict[relax.Var, relax.Call] = {}

    def known(expr) -> np.ndarray | None:
        value = graph.value(expr)
        if isinstance(value, tvm.ir.GenericConst):
            return np.from_dlpack(value.value)
        return numbers.get(expr)

    for var, call in graph.order:
        if var in numbers or not isinstance(call, relax.Call) or not op_name(call):
            continue
        shape = known_shape(var)
        if shape is None or not 0 < math.prod(shape) <= MOST:
            continue
        there = all(arg in found or known(arg) is not None for arg in _tensors(call))
        if there and is_beginning(call, mod) and gathers_within(call, known):
            found[var] = call
    return found if any(symbols_of(sized_shape(var)) for var in found) else {}


def _tensors(call: relax.Call) -> list:
    """Return the operands of a call that are tensors."""
    args = call.args[1:2] if op_name(call) == "call_tir" else call.args
    fields = [each for arg in args for each in getattr(arg, "fields", [arg])]
    return [each for each in fields if isinstance(each.ty, relax.TensorType)]


def _follow_sizes(kept: Mapping[relax.Var, relax.Call]) -> set[relax.Var]:
    """Return those whose shape or any operand's follows from sizes; others are mere constants."""
    found: set[relax.Var] = set()
    for var, call in kept.items():
        if any(arg in found for arg in _tensors(call)) or symbols_of(sized_shape(var)):
            found.add(var)
    return found


def _computed(
    mod: tvm.IRModule,
    graph: Graph,
    found: Mapping[relax.Var, relax.Call],
    numbers: Mapping[relax.Var, np.ndarray],
) -> dict[relax.Var, np.ndarray]:
    """Return what LLVM computes of bindings for the largest sizes, of those that are folded."""
    builder = relax.BlockBuilder()
    made: dict[relax.Var, relax.Expr] = {}

    def again(arg):
        if isinstance(arg, relax.Tuple):
            return relax.Tuple([again(field) for field in arg.fields])
        if isinstance(arg, relax.ShapeExpr):
            return relax.ShapeExpr([_largest(size) for size in arg.values])
        if tvm.ir.is_prim_expr(arg):
            return _largest(arg)
        if arg in numbers:
            return relax.const(numbers[arg], str(arg.ty.dtype))
        return made.get(arg, graph.value(arg))

    with builder.function("main", []):
        for var, call in found.items():
            if op_name(call) == "call_tir":
                function = mod[call.args[0]]
                sizes = sizes_in(function)
                most = [int(_largest(var)) for var in sizes.values()]
                one = builder.add_func(at_sizes(function, sizes, most), "copied")
                result = relax.TensorType(known_shape(var), str(var.ty.dtype))
                new = relax.call_tir(one, list(again(call.args[1]).fields), result)
            else:
                new = relax.Call(call.op, [again(arg) for arg in call.args], call.attrs)
            made[var] = builder.emit(new)
        builder.emit_func_output(relax.Tuple(list(made.values())))
    with tvm.target.Target(HOST):
        results = Graph(folded(legalized(builder.get()), set())["main"])
    fields = results.value(results.result).fields
    values = {var: results.value(field) for var, field in zip(made, fields, strict=True)}
    return {
        var: np.from_dlpack(value.value)
        for var, value in values.items()
        if isinstance(value, tvm.ir.GenericConst)
    }


def _largest(expr):
    """Return an expression of sizes for the largest ones, any other as it is."""
    number = number_of(expr)
    return expr if number is None else tirx.const(int(number), expr.ty.dtype)


@mutator
class _Prefixes(PyExprMutator):
    """Puts beginnings of constants in the places of calls; what gave their operands is dead."""

    def __init__(self, mod, places: Mapping[int, np.ndarray], variables):
        super().__init__(mod)
        self.places, self.variables = places, variables

    def visit_call_(self, call):
        numbers = self.places.get(hash(call))
        if numbers is None:
            return self.visit_expr_post_order(call)
        whole = relax.const(numbers, str(call.ty.dtype))
        shape = sized_shape(call)
        if not symbols_of(shape):
            return whole

        def beginning(x):
            extents = Extents(dict(self.variables))(shape)
            return te.compute(extents, lambda *index: x[index], name="beginning")

        return self.builder_.call_te(beginning, whole, primfunc_name_hint="beginning")
