"""Operators that go from element to element, in a form that the vector unit can run.

TVM writes a cumulative sum, a scatter or a sort as a program that the unit has no operator for. A
result that looks at every element, and takes those that count, is more work, and a transfer or two:
up to `MOST` looks it's still less than to hand the tensor to the host and back.
"""

from collections.abc import Callable

from tvm import relax

MOST = 1 << 20
"""Elements that all results together look at."""

Form = Callable[[relax.BlockBuilder, relax.Call], "relax.Expr | None"]
"""Returns what computes the same as a call whose shapes are known, None to leave it."""
FORMS: dict[str, Form] = {}
"""By the operator's name."""


def form(*names: str) -> Callable[[Form], Form]:
    """Register a function as the form of operators."""

    def register(function: Form) -> Form:
        FORMS.update(dict.fromkeys(names, function))
        return function

    return register


def shape_in(expr: relax.Expr) -> tuple[int, ...]:
    """Return the shape of an expression, which is known."""
    return tuple(int(size) for size in expr.ty.shape.values)


def dtype_in(expr: relax.Expr) -> str:
    """Return the element type of an expression."""
    return str(expr.ty.dtype)
