"""Writes into a module what sizes a call decides, and their bounds."""

from collections.abc import Mapping

import tvm
from tvm import relax, tirx

from ...runtime.sizes import PREFIX, encoded
from ..partition.graph import function_names
from ..sizes import LOWER, UPPER, variables_of
from ..symbolic import Symbol


def with_size_bounds(mod: tvm.IRModule, known: Mapping[str, Symbol]) -> tvm.IRModule:
    """Return a module whose functions have bounds of their sizes as attributes, and tell them.

    TVM plans memory by the attributes; a session asks the functions.
    """
    functions = dict(mod.functions)
    for gv in function_names(mod):
        function = mod[gv]
        bounds = {name: known[name] for name in variables_of(function) if name in known}
        if not bounds:
            continue
        least = {name: symbol.least for name, symbol in bounds.items()}
        most = {name: symbol.most for name, symbol in bounds.items()}
        functions[gv] = function.with_attr(LOWER, least).with_attr(UPPER, most)
        symbol = PREFIX + gv.name_hint
        functions = {each: made for each, made in functions.items() if each.name_hint != symbol}
        functions[tvm.ir.GlobalVar(symbol)] = _teller(function, bounds, symbol)
    return tvm.IRModule(functions, attrs=mod.attrs)


def _teller(function: relax.Function, bounds: Mapping[str, Symbol], symbol: str) -> relax.Function:
    shapes = {var.name: var.ty.shape for var in function.params if hasattr(var.ty, "shape")}
    inputs = {
        name: [_extent(size) for size in shape.values]
        for name, shape in shapes.items()
        if isinstance(shape, relax.ShapeExpr)
    }
    table = encoded({name: (each.least, each.most) for name, each in bounds.items()}, inputs)
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        builder.emit_func_output(builder.emit(relax.const(table.copy(), "uint8")))
    return builder.get()["main"].with_attr("global_symbol", symbol)


def _extent(size) -> int | str | None:
    if isinstance(size, tirx.Var):
        return size.name
    return int(size) if isinstance(size, tirx.IntImm) else None
