"""Weights that a model computes from its parameters, such as weight norms: constants."""

from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...llvm import build_for_llvm
from ...names import Names, digest
from ...partition.constraints import PRODUCTS
from ...partition.graph import Graph, function_names, op_name, static_shape

FLOATS = ("float32", "float64", "bool", "int32", "int64")
"""Types of what weights are computed from: codes stay codes, whatever becomes of them."""
CHAIN = (relax.Call, relax.Tuple, relax.TupleGetItem)


def with_computed(mod: tvm.IRModule, names: Names) -> tuple[tvm.IRModule, Names]:
    """Return the module with its products' weights computed, and names with those of the weights.

    What goes by the name of the largest parameter that it was computed from.
    """
    attrs, names = mod.attrs, dict(names)
    for gv in function_names(mod):
        graph = Graph(mod[gv])
        products = [call for _, call in graph.order if op_name(call) in PRODUCTS]
        sources = {arg: _sources(graph, arg) for call in products for arg in call.args}
        wanted = [arg for arg, found in sources.items() if found]
        if not wanted:
            continue
        numbers = _evaluated(graph, wanted)
        for arg, number in zip(wanted, numbers, strict=True):
            largest = max(sources[arg], key=lambda value: value.size)
            names[digest(number)] = names.get(digest(largest), ())
        places = {hash(graph.value(arg)): n for arg, n in zip(wanted, numbers, strict=True)}
        replace = _Replace(mod, places)
        replace.builder_.update_func(gv, replace.visit_expr(mod[gv]))
        mod = replace.builder_.get()
    return mod.with_attrs(attrs) if attrs else mod, names


def _sources(graph: Graph, expr) -> list[np.ndarray]:
    """Return the constants that an operand is computed from.

    None of one that an input is a part of, and none of one that is a constant as it stands.
    """
    if not isinstance(expr, relax.Var) or static_shape(expr) is None:
        return []
    if str(expr.ty.dtype) != "float32" or graph.constant(expr, copy=False) is not None:
        return []
    found: list[np.ndarray] = []
    left, seen = [expr], set()
    while left:
        value = graph.value(left.pop())
        if hash(value) in seen:
            continue
        seen.add(hash(value))
        if isinstance(value, tvm.ir.GenericConst):
            found.append(np.from_dlpack(value.value))
        elif isinstance(value, CHAIN):
            if isinstance(value, relax.Call) and op_name(value) in ("", *CALLS):
                return []
            left += _parts(value)
        elif isinstance(value, relax.Var | tvm.ir.GlobalVar | relax.If | relax.SeqExpr):
            return []
    return found if all(str(each.dtype) in FLOATS for each in found) else []


CALLS = ("call_tir", "call_dps_packed", "call_pure_packed")
"""Operators that call what may be anything."""


def _parts(value) -> list:
    """Return what an expression is made of."""
    if isinstance(value, relax.TupleGetItem):
        return [value.tuple_value]
    return list(value.args if isinstance(value, relax.Call) else value.fields)


def _evaluated(graph: Graph, wanted: list) -> list[np.ndarray]:
    """Return what LLVM computes for operands that need no input."""
    builder = relax.BlockBuilder()
    made: dict[int, relax.Expr] = {}

    def again(expr):
        value = graph.value(expr)
        if not isinstance(value, CHAIN):
            return value
        if isinstance(value, relax.Tuple):
            # Where a slice begins has to stand in its call.
            return relax.Tuple([again(part) for part in value.fields])
        if hash(value) not in made:
            parts = [again(part) for part in _parts(value)]
            if isinstance(value, relax.Call):
                new = relax.Call(value.op, parts, value.attrs, value.ty_args)
            else:
                new = relax.TupleGetItem(parts[0], value.index)
            made[hash(value)] = builder.emit(new)
        return made[hash(value)]

    with builder.function("main", []):
        builder.emit_func_output(relax.Tuple([again(expr) for expr in wanted]))
    machine = relax.VirtualMachine(build_for_llvm(builder.get()), tvm.cpu())
    return [result.numpy() for result in machine["main"]()]


@mutator
class _Replace(PyExprMutator):
    """Puts constants in the places of calls; what gave their operands becomes dead."""

    def __init__(self, mod: tvm.IRModule, places: Mapping[int, np.ndarray]):
        super().__init__(mod)
        self.places = places

    def visit_call_(self, call):
        number = self.places.get(hash(call))
        return self.visit_expr_post_order(call) if number is None else relax.const(number)

    def visit_tuple_getitem_(self, item):
        number = self.places.get(hash(item))
        return super().visit_tuple_getitem_(item) if number is None else relax.const(number)
