"""A model of fp32 as one of integers: scales are constants, and nothing between is fp32."""

from collections import Counter

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax import op

from ....target.errors import UnsupportedError
from ...partition.graph import op_name
from .codes import Codes, step_for
from .emission import BYTE, Emission
from .ranges import bound_values, is_float, largest_magnitudes, measured
from .rules import RULES


def to_integers(mod: tvm.IRModule, calls) -> tvm.IRModule:
    """Return the module in integers: fp32 inputs are quantized, and fp32 outputs are scaled.

    Parameters
    ----------
    calls : iterable of tuple of numpy.ndarray
        Samples of the inputs of ``main``, which the scales are made for.

    Raises
    ------
    UnsupportedError
        With all operators that there are no integers for.
    """
    # Constants that were only given another shape are constants again.
    mod = relax.transform.ToNonDataflow()(relax.transform.FoldConstant()(mod))
    source = mod["main"]
    _check(source)
    largest = largest_magnitudes(mod, calls)
    by_var = {hash(var): each for var, each in zip(measured(source), largest, strict=True)}
    builder = relax.BlockBuilder()
    params = [relax.Var(param.name, param.ty) for param in source.params]
    emission = Emission(builder, by_var)
    with builder.function("main", params):
        for param, old in zip(params, source.params, strict=True):
            emission.values[hash(old)] = _entered(emission, param, by_var.get(hash(old)))
        for var, value in bound_values(source):
            emission.values[hash(var)] = _visit(emission, var, value)
        builder.emit_func_output(_left(emission, source.body.body))
    made = builder.get()
    functions = dict(made.functions)
    main = made["main"].with_attrs(dict(source.attrs or {}))
    functions[made.get_global_var("main")] = main
    for gv, function in mod.functions.items():
        if gv.name_hint != "main":
            functions[gv] = function
    built = tvm.IRModule(functions, attrs=mod.attrs)
    return relax.transform.ConvertToDataflow(min_size=1)(built)


def _entered(emission: Emission, param: relax.Var, largest: float | None):
    """Return an input: fp32 is quantized to int8 here, once."""
    if largest is None:
        return param
    scale = np.float32(step_for(largest, BYTE))
    zero = relax.const(0, "int8")
    codes = emission.emit(op.quantize(param, relax.const(scale), zero, out_dtype="int8"))
    return Codes(codes, np.asarray(scale, np.float64))


def _left(emission: Emission, expr: relax.Expr) -> relax.Expr:
    """Return an output: integers are scaled to fp32 here, once."""
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([_left(emission, each) for each in expr.fields])
    value = emission.values[hash(expr)]
    if not isinstance(value, Codes):
        return value
    value = emission.wide(expr)
    wide = emission.emit(op.astype(value.codes, "float32"))
    return emission.emit(op.multiply(wide, relax.const(value.scale.astype(np.float32))))


def _visit(emission: Emission, var: relax.Var, value: relax.Expr):
    if isinstance(value, relax.Var):
        return emission.values[hash(value)]
    if is_float(var):
        return RULES[op_name(value)](emission, var, value)
    known = [
        emission.values[hash(each)] if isinstance(each, relax.Var) else each for each in value.args
    ]
    return emission.emit(relax.Call(value.op, known, value.attrs, value.ty_args))


def _check(function: relax.Function) -> None:
    missing: Counter[str] = Counter()
    for var, value in bound_values(function):
        if isinstance(value, relax.Var | ir.GenericConst) and not is_float(var):
            continue
        if isinstance(value, relax.Var):
            continue
        name = op_name(value) if isinstance(value, relax.Call) else type(value).__name__
        integer = isinstance(value, relax.Call) and not any(map(is_float, value.args))
        if (is_float(var) and name in RULES) or (integer and not is_float(var)):
            continue
        missing[name] += 1
    if missing:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
        raise UnsupportedError(
            f"no integers are known for {listed}; allowed: {', '.join(sorted(RULES))}"
        )
