"""Names of a model's outputs, as functions of its module: every library built of it has them."""

from collections.abc import Sequence

import tvm
from tvm import relax

from ...runtime.outputs import PREFIX, decoded, encoded


def with_output_names(mod: tvm.IRModule, names: Sequence[str]) -> tvm.IRModule:
    """Return a module that says what the outputs of `main` are called."""
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        builder.emit_func_output(builder.emit(relax.const(encoded(names).copy(), "uint8")))
    symbol = PREFIX + "main"
    function = builder.get()["main"].with_attr("global_symbol", symbol)
    functions = {**mod.functions, tvm.ir.GlobalVar(symbol): function}
    return tvm.IRModule(functions, attrs=mod.attrs)


def output_names(mod: tvm.IRModule) -> dict[str, list[str]]:
    """Return by function what its outputs are called, as far as the source says it."""
    found = {}
    for gv, function in mod.functions.items():
        if gv.name_hint.startswith(PREFIX):
            constants: list[tvm.ir.GenericConst] = []
            relax.analysis.post_order_visit(function, lambda each, to=constants: _gather(each, to))
            found[gv.name_hint.removeprefix(PREFIX)] = decoded(constants[0].value.numpy())
    return found


def _gather(node, constants: list) -> None:
    if isinstance(node, tvm.ir.GenericConst):
        constants.append(node)
