"""The functions of `target.functions` as TIR, and a PrimFunc with its calls replaced by them.

An expression of calls, `tirx.exp(x)`, is what LLVM's libraries make of it. `with_functions` puts
in its place the sequence of operations that the machine runs, so that both give the same bits.
"""

from collections.abc import Callable

import tvm_ffi
from tvm import ir, tirx

from ....target.functions import FUNCTIONS
from . import exact, exponential, logarithm, trigonometric
from .steps import Steps

_RENAMED: dict[str, Callable] = {
    "min": exact.minimum,
    "max": exact.maximum,
    "int32_to_float32": exact.cast("float32"),
    "int8_to_float32": exact.cast("float32"),
    "bool_to_float32": exact.cast("float32"),
    "int32_to_int8": exact.cast("int8"),
}
"""Those that aren't called in their module as in the table."""
CALLS = {
    **{f"tirx.{name}": name for name in FUNCTIONS if "_to_" not in name},
    # What LLVM has for `round` rounds halves away from 0; ONNX and torch want the even one.
    "tirx.round": "nearbyint",
}
"""Names of TVM's operators, and of the functions that replace them."""
_CASTS = {
    ("float32", output): f"float32_to_{output}" for output in ("int32", "int8")
}  # fmt: skip


def function(name: str, *inputs: tirx.Expr) -> tirx.Expr:
    """Return a function of the table of expressions: nested ``Let`` of its operations.

    Each call has variables of its own. The expressions given may be of any size: they are bound
    to variables first.
    """
    steps = Steps()
    return steps.closed(_writer(name)(steps, *(steps(value) for value in inputs)))


def with_functions(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return the function with fp32 calls of `CALLS` and casts of fp32 as their operations."""
    return tvm_ffi.structural_map(func, [(ir.Call, _replaced), (tirx.Cast, _cast)])


def other_calls(func: tirx.PrimFunc) -> list[str]:
    """Return the names of operators in a function that aren't in the table, nor bits of numbers."""
    found: set[str] = set()

    def note(call):
        if isinstance(call.op, ir.Op) and call.op.name not in (*CALLS, "tirx.reinterpret"):
            found.add(call.op.name)

    tvm_ffi.structural_walk(func, [(ir.Call, note)])
    return sorted(found)


def _replaced(call):
    name = CALLS.get(call.op.name) if isinstance(call.op, ir.Op) else None
    if name is None or call.ty.dtype != "float32":
        return call
    return function(name, *call.args)


def _cast(cast):
    name = _CASTS.get((cast.value.ty.dtype, cast.ty.dtype))
    return cast if name is None else function(name, cast.value)


def _writer(name: str) -> Callable:
    if name in _RENAMED:
        return _RENAMED[name]
    modules = (exact, exponential, logarithm, trigonometric)
    assert name in FUNCTIONS, name
    return next(getattr(module, name) for module in modules if hasattr(module, name))
