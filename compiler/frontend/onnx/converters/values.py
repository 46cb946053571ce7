"""What converters ask of their inputs, and small expressions that many of them make."""

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import relax

from .....target.errors import UnsupportedError
from ....partition.graph import static_shape


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """Return the shape of a tensor.

    Raises
    ------
    UnsupportedError
        Where it isn't known while compiling.
    """
    shape = static_shape(expr)
    if shape is None:
        raise UnsupportedError(f"the shape of {expr} isn't known while compiling")
    return shape


def sizes_of(expr: relax.Expr) -> tuple:
    """Return the extents of a tensor: numbers, and expressions of sizes that a call decides.

    Raises
    ------
    UnsupportedError
        Where one is neither.
    """
    shape = getattr(expr.ty, "shape", None)
    if not isinstance(shape, relax.ShapeExpr):
        return shape_of(expr)
    known = (getattr(size, "value", None) for size in shape.values)
    pairs = zip(known, shape.values, strict=True)
    return tuple(size if number is None else int(number) for number, size in pairs)


def rank_of(expr: relax.Expr) -> int:
    """Return how many dimensions a tensor has."""
    return len(sizes_of(expr))


def pixels_of(expr: relax.Expr) -> tuple[int, ...]:
    """Return the extents of an image behind its batch and channels.

    Raises
    ------
    UnsupportedError
        Where one isn't known while compiling.
    """
    pixels = sizes_of(expr)[2:]
    return pixels if all(isinstance(size, int) for size in pixels) else shape_of(expr)[2:]


def dtype_of(expr: relax.Expr) -> str:
    """Return the dtype of a tensor."""
    return str(expr.ty.dtype)


def known(expr: relax.Expr | None) -> np.ndarray | None:
    """Return the values of a constant; None for what is computed at run time, or left out."""
    if isinstance(expr, relax.ShapeExpr):
        return np.array([int(dim) for dim in expr.values], np.int64)
    return expr.value.numpy() if isinstance(expr, tvm.ir.GenericConst) else None


def constant(expr: relax.Expr | None, operator: str, what: str) -> np.ndarray:
    """Return the values of an input that must be known while compiling.

    Raises
    ------
    UnsupportedError
        Where it is computed at run time.
    """
    values = known(expr)
    if values is None:
        raise UnsupportedError(f"{operator}: {what} must be known while compiling")
    return values


def const(value, dtype: str) -> relax.Expr:
    """Return a constant tensor of a dtype that NumPy or ml_dtypes has."""
    return relax.const(np.asarray(value).astype(_numpy_dtype(dtype)), dtype)


def given(inputs: Sequence[relax.Expr | None], position: int) -> relax.Expr | None:
    """Return an input, None where it is left out."""
    return inputs[position] if position < len(inputs) else None


def text(attributes: dict, name: str, default: str = "") -> str:
    """Return an attribute that is a text."""
    value = attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else value


def _numpy_dtype(dtype: str) -> np.dtype:
    try:
        return np.dtype(dtype)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, dtype))
