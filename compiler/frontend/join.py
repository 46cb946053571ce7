"""Several models as the functions of one module, such as a prompt's pass and a token's.

State of one name is one value, whichever function changes it; equal weights are quantized once.
"""

from collections.abc import Mapping

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...runtime.outputs import PREFIX as OUTPUTS
from ...runtime.state import PREFIX
from ...target.errors import ConfigError
from ..names import read_names, with_names
from ..partition.graph import function_names


def join(modules: Mapping[str, tvm.IRModule]) -> tvm.IRModule:
    """Return one module with the `main` of each as a function of its name.

    Raises
    ------
    ConfigError
        For a name that can't be a function's, and for state of one name and two types.
    """
    builder = relax.BlockBuilder()
    functions: dict[tvm.ir.GlobalVar, relax.Function] = {}
    names: dict[str, list[str]] = {}
    state: dict[str, relax.Function] = {}
    for name, mod in modules.items():
        if not name.isidentifier():
            raise ConfigError(f"'{name}' can't name a function; allowed: letters, digits and _")
        names |= read_names(mod)
        called = {
            gv: builder.add_func(function, f"{name}_{gv.name_hint}")
            for gv, function in mod.functions.items()
            if isinstance(function, tirx.PrimFunc)
        }
        for gv in function_names(mod):
            if gv.name_hint.startswith(PREFIX):
                _same_type(state.setdefault(gv.name_hint, mod[gv]), mod[gv], gv.name_hint, name)
                continue
            symbol = name if gv.name_hint == "main" else f"{name}_{gv.name_hint}"
            if gv.name_hint == OUTPUTS + "main":
                symbol = OUTPUTS + name
            function = _Replace(mod, called).visit_expr(mod[gv])
            functions[tvm.ir.GlobalVar(symbol)] = function.with_attr("global_symbol", symbol)
    functions |= {tvm.ir.GlobalVar(symbol): function for symbol, function in state.items()}
    return with_names(tvm.IRModule({**builder.get().functions, **functions}), names)


def _same_type(first: relax.Function, other: relax.Function, symbol: str, where: str) -> None:
    if not tvm_ffi.structural_equal(first.ret_ty, other.ret_ty):
        raise ConfigError(
            f"'{symbol.removeprefix(PREFIX)}' is {first.ret_ty} in one function and "
            f"{other.ret_ty} in '{where}'; state of one name must be of one type"
        )


@mutator
class _Replace(PyExprMutator):
    """Calls the functions of the joined module."""

    def __init__(self, mod: tvm.IRModule, called: dict):
        super().__init__(mod)
        self.called = called

    def visit_global_var_(self, gv):
        return self.called.get(gv, gv)
