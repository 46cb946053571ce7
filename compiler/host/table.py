"""The costs of what stays on the host, in the module itself: a library carries them."""

from collections.abc import Callable

import tvm
from tvm import relax, tirx

from ...runtime.host_costs import BUILTIN, NAME, Costs, encoded
from ..partition.graph import function_names, static_shape
from .operations import cost_of

NOTHING = "host_nothing"
"""What a library has that does all on the machine."""


def with_costs(mod: tvm.IRModule, lower: Callable[[tvm.IRModule], tvm.IRModule]) -> tvm.IRModule:
    """Return a lowered module that has a function more, which says what its others cost.

    Parameters
    ----------
    lower : callable
        What lowered the module: the new function goes through it as well.
    """
    costs = host_costs(mod)
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        builder.emit_func_output(builder.emit(relax.const(encoded(costs).copy(), "uint8")))
    table = lower(builder.get())["main"].with_attr("global_symbol", NAME)
    functions = {**mod.functions, tvm.ir.GlobalVar(NAME): table}
    if not any(isinstance(function, tirx.PrimFunc) for function in functions.values()):
        # Without any code TVM makes a library of C, which every start would have to compile.
        nothing = tirx.PrimFunc([], tirx.Evaluate(0)).with_attr("global_symbol", NOTHING)
        functions[tvm.ir.GlobalVar(NOTHING)] = nothing
    return tvm.IRModule(functions, attrs=mod.attrs)


def host_costs(mod: tvm.IRModule) -> Costs:
    """Return what one call of each function costs that a lowered module runs on the host."""
    code = {gv.name_hint: f for gv, f in mod.functions.items() if isinstance(f, tirx.PrimFunc)}
    # Of most TVM makes views, of those that are results copies.
    views = [
        name for name, function in code.items() if relax.analysis.has_reshape_pattern(function)
    ]
    functions = {
        name: cost
        for name, function in code.items()
        if name not in views and (cost := cost_of(function))
    }
    packed: dict[str, list[int]] = {}
    for gv in function_names(mod):
        relax.analysis.post_order_visit(mod[gv], lambda expr: _note_packed(expr, packed))
    ours = [module.implements_function for module in (mod.attrs or {}).get("external_mods", [])]
    means = {
        name: sum(sizes) // len(sizes)
        for name, sizes in packed.items()
        if not any(has(name) for has in ours)
    }
    return Costs(functions, means, views)


def _note_packed(expr, packed: dict[str, list[int]]) -> None:
    if not isinstance(expr, relax.Call) or not isinstance(expr.op, relax.ExternFunc):
        return
    name = str(expr.op.global_symbol)
    if not name.startswith(BUILTIN):
        packed.setdefault(name, []).append(sum(map(_bytes, (*expr.args, expr))))


def _bytes(expr) -> int:
    """Return the bytes of a tensor whose shape is known, 0 of anything else."""
    shape = static_shape(expr)
    if shape is None:
        return 0
    count = tvm.DataType(str(expr.ty.dtype)).itemsize
    for extent in shape:
        count *= extent
    return count
