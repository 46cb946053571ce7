"""A model of fp32 as one of integers: scales are constants, and nothing between is fp32."""

from collections.abc import Callable

import numpy as np
import tvm
from tvm import ir, relax, tirx
from tvm.relax import op

from ....target.errors import UnsupportedError
from ...names import read_names
from ...partition.graph import Graph, op_name
from .codes import Codes, step_for
from .emission import BYTE, Emission
from .missing import check_known, has_type, place_of
from .prepare import plain_operators
from .ranges import Ranges, bound_values, is_float
from .rules import RULES, TRUTHS

Measure = Callable[[tvm.IRModule], Ranges]
"""Returns how large the values of a module are."""


def to_integers(mod: tvm.IRModule, measure: Measure) -> tvm.IRModule:
    """Return the module in integers: fp32 inputs are quantized, and fp32 outputs are scaled.

    Parameters
    ----------
    measure : callable
        Gives the magnitudes that scales are made for.

    Raises
    ------
    UnsupportedError
        With all operators that there are no integers for, and what is allowed.
    """
    mod = plain_operators(mod)
    source, names = mod["main"], read_names(mod)
    check_known(source, names)
    ranges = measure(mod)
    builder = relax.BlockBuilder()
    params = [relax.Var(param.name, param.ty) for param in source.params]
    emission = Emission(builder, ranges)
    # Calls of the module's own functions need them while they are emitted.
    for gv, function in mod.functions.items():
        if isinstance(function, tirx.PrimFunc):
            emission.functions[gv] = builder.add_func(function, gv.name_hint)
    with builder.function("main", params):
        for param, old in zip(params, source.params, strict=True):
            emission.values[hash(old)] = _entered(emission, param, ranges.largest.get(hash(old)))
        for var, value in bound_values(source):
            try:
                emission.values[hash(var)] = _visit(emission, var, value)
            except UnsupportedError as error:
                place = place_of(source, names, var)
                raise UnsupportedError(f"{place} has no integers: {error}") from None
        output, whole = source.body.body, Graph(source).value(source.body.body)
        output = whole if isinstance(whole, relax.Tuple) else output
        builder.emit_func_output(_left(emission, output))
    made = builder.get()
    main = made["main"].with_attrs(dict(source.attrs or {}))
    made.update_func(made.get_global_var("main"), main)
    functions = dict(made.functions)
    for gv, function in mod.functions.items():
        if gv.name_hint != "main" and gv not in emission.functions:
            functions[gv] = function
    built = tvm.IRModule(functions, attrs=mod.attrs)
    return relax.transform.ConvertToDataflow(min_size=1)(built)


def _entered(emission: Emission, param: relax.Var, largest: float | None):
    """Return an input: fp32 is quantized to int8 here, once."""
    if largest is None:
        bool_input = str(param.ty.dtype) == "bool"
        return emission.emit(op.astype(param, "int32")) if bool_input else param
    scale = np.float32(step_for(largest, BYTE))
    zero = relax.const(0, "int8")
    codes = emission.emit(op.quantize(param, relax.const(scale), zero, out_dtype="int8"))
    return Codes(codes, np.asarray(scale, np.float64), BYTE + 1)


def _left(emission: Emission, expr: relax.Expr) -> relax.Expr:
    """Return an output: integers are scaled to fp32 here, once."""
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([_left(emission, each) for each in expr.fields])
    if isinstance(expr.ty, relax.TensorType) and str(expr.ty.dtype) == "bool":
        return emission.emit(op.astype(emission.of(expr), "bool"))
    if not is_float(expr):
        return emission.of(expr)
    value = emission.wide(expr)
    wide = emission.emit(op.astype(value.codes, "float32"))
    return emission.emit(op.multiply(wide, relax.const(value.scale.astype(np.float32))))


def _visit(emission: Emission, var: relax.Var, value: relax.Expr):
    if isinstance(value, ir.GenericConst):
        emission.constants[hash(var)] = value
        return emission.codes(var) if is_float(var) else value
    if isinstance(value, relax.Var):
        if hash(value) in emission.constants:
            emission.constants[hash(var)] = emission.constants[hash(value)]
        return emission.values[hash(value)]
    if isinstance(value, relax.Tuple):
        return [
            emission.codes(each) if is_float(each) else emission.of(each) for each in value.fields
        ]
    if isinstance(value, relax.TupleGetItem):
        found = emission.values[hash(value.tuple_value)]
        if isinstance(found, list):
            return found[value.index]
        return emission.emit(relax.TupleGetItem(found, value.index))
    if not isinstance(value, relax.Call):
        return emission.emit(value)
    if has_type("float32", var, value):
        return RULES[op_name(value)](emission, var, value)
    if has_type("bool", var, value):
        return TRUTHS[op_name(value)](emission, var, value)
    return emission.emit(
        relax.Call(value.op, [emission.of(each) for each in value.args], value.attrs, value.ty_args)
    )
