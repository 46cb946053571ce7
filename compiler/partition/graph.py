"""Questions that passes ask of a Relax function: who defines, who uses, what is constant."""

import numpy as np
import tvm
from tvm import relax

from ...target.errors import UnsupportedError
from ..sizes import number_of

LAYOUT = ("permute_dims", "reshape", "expand_dims", "squeeze")
"""Operators that only move elements."""


def op_name(expr) -> str:
    """Return the name of a call's operator without ``relax.``, empty for anything else."""
    if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op):
        return expr.op.name.removeprefix("relax.")
    return ""


def static_shape(expr) -> tuple[int, ...] | None:
    """Return the shape of a tensor expression, None when it isn't known while compiling."""
    shape = getattr(getattr(expr, "ty", None), "shape", None)
    if not isinstance(shape, relax.ShapeExpr):
        return None
    try:
        return tuple(int(dim) for dim in shape.values)
    except (TypeError, ValueError):
        return None


def sized_shape(expr) -> tuple[int, ...] | None:
    """Return the shape of a tensor expression, whose extents may follow sizes (`symbolic.py`).

    None when there's an extent that follows from no size with a bound.
    """
    shape = getattr(getattr(expr, "ty", None), "shape", None)
    if not isinstance(shape, relax.ShapeExpr):
        return None
    found = tuple(map(number_of, shape.values))
    return None if None in found else found  # type: ignore[return-value]


def shape_of(expr) -> tuple[int, ...]:
    """Return the shape of an expression, like `sized_shape`, of which a constraint settled it.

    Raises
    ------
    UnsupportedError
        When it isn't known.
    """
    shape = sized_shape(expr)
    if shape is None:
        raise UnsupportedError(f"a shape must follow from the inputs' shapes; this doesn't: {expr}")
    return shape


def function_names(mod: tvm.IRModule) -> list:
    """Return the Relax functions of a module in order."""
    return [gv for gv, function in mod.functions.items() if isinstance(function, relax.Function)]


def function_calls(function: relax.Function) -> list[str]:
    """Return the names of the PrimFuncs that a function calls, once for each call."""
    found: list[str] = []

    def visit(expr):
        if op_name(expr) == "call_tir":
            found.append(expr.args[0].name_hint)

    relax.analysis.post_order_visit(function, visit)
    return found


def program_calls(function: relax.Function) -> list[str]:
    """Return the names of the program's functions that a function calls, once for each call."""
    found: list[str] = []

    def visit(expr):
        if op_name(expr) == "call_dps_packed":
            found.append(str(expr.args[0].global_symbol))

    relax.analysis.post_order_visit(function, visit)
    return found


class Graph:
    """Definitions and uses of the variables of one function."""

    def __init__(self, function: relax.Function):
        self.definition: dict = {}
        self.order: list[tuple] = []
        self.users: dict = {}
        self.result = function.body.body
        for block in function.body.blocks:
            for binding in block.bindings:
                value = getattr(binding, "value", None)
                if value is None:
                    continue
                self.definition[binding.var] = value
                self.order.append((binding.var, value))
                self._note_uses(binding.var, value)
        self._note_uses(None, function.body.body)

    def _note_uses(self, user, value) -> None:
        def visit(expr):
            if isinstance(expr, relax.Var):
                self.users.setdefault(expr, []).append((user, value))

        relax.analysis.post_order_visit(value, visit)

    def value(self, expr):
        """Return what a variable is bound to, through copies; other expressions as they are."""
        while isinstance(expr, relax.Var) and expr in self.definition:
            expr = self.definition[expr]
        return expr

    def only_user(self, var):
        """Return (variable, value) of the single use of a variable, None for more or an output."""
        uses = self.users.get(var, [])
        if len(uses) != 1 or uses[0][0] is None:
            return None
        return uses[0]

    def constant(self, expr, copy: bool = True) -> np.ndarray | None:
        """Return the value of an expression made of constants by moving or repeating them only.

        Codes of a constant that are dequantized are one, too.
        Without `copy` it can be a view of the module's own memory, and a repeated one is a view.
        """
        expr = self.value(expr)
        if isinstance(expr, tvm.ir.GenericConst):
            return expr.value.numpy() if copy else np.from_dlpack(expr.value)
        name = op_name(expr)
        if name in ("dequantize", "subtract", "multiply"):
            from .dequantized import weights  # it stands on the functions above

            found = weights(self.value, expr)
            return None if found is None else found.numbers
        if name not in (*LAYOUT, "astype", "broadcast_to"):
            return None
        source = self.constant(expr.args[0], copy)
        shape = static_shape(expr)
        if source is None or shape is None:
            return None
        if name == "broadcast_to":
            return np.broadcast_to(source, shape)
        if name == "permute_dims":
            axes = expr.attrs.axes
            return source.transpose([int(a) for a in axes] if axes is not None else None)
        if name == "astype":
            return source.astype(str(expr.attrs.dtype))
        return source.reshape(shape)
