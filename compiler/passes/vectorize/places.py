"""Expressions that depend on where an element is and on nothing else, and their values."""

from typing import Any

import numpy as np
from tvm import tirx

from .expressions import called, children, loads_of

BINARY = {
    tirx.Add: np.add,
    tirx.Sub: np.subtract,
    tirx.Mul: np.multiply,
    tirx.FloorDiv: np.floor_divide,
    tirx.FloorMod: np.mod,
    tirx.Min: np.minimum,
    tirx.Max: np.maximum,
    tirx.LT: np.less,
    tirx.LE: np.less_equal,
    tirx.GT: np.greater,
    tirx.GE: np.greater_equal,
    tirx.EQ: np.equal,
    tirx.NE: np.not_equal,
    tirx.And: np.logical_and,
    tirx.Or: np.logical_or,
}


ROUND = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint}


def _cast(expr, given: np.ndarray) -> np.ndarray | None:
    dtype = str(expr.ty.dtype)
    if dtype in ("int32", "int64"):
        return np.asarray(given).astype(np.int64)
    return np.asarray(given).astype(dtype) if dtype in ("float32", "bool") else None


def is_integer(node) -> bool:
    """Tell whether an expression is an integer or a truth value."""
    # The name of a function that is called has no element type.
    return str(getattr(node.ty, "dtype", "")).startswith(("int", "uint", "bool"))


def place_expressions(value) -> list:
    """Return the largest integer expressions of a value that vary, and need nothing loaded."""
    if is_integer(value) and not loads_of(value):
        return [] if isinstance(value, tirx.IntImm) else [value]
    return [found for child in children(value) for found in place_expressions(child)]


def evaluate(expr, places: dict) -> Any:
    """Return an expression's values at places; None for what isn't known here.

    Numbers are fp32, each step rounded as the host rounds it.

    Parameters
    ----------
    places : dict of tirx.Var to numpy.ndarray
        Integers of shapes that broadcast.
    """
    if isinstance(expr, tirx.IntImm):
        return np.int64(int(expr))
    if isinstance(expr, tirx.FloatImm):
        return np.float32(float(expr))
    if isinstance(expr, tirx.Var):
        return places.get(expr)
    given: list[Any] = [evaluate(child, places) for child in children(expr)]
    if not given or any(each is None for each in given):
        return None
    if isinstance(expr, tirx.Div):
        return None if is_integer(expr) else np.divide(*given)
    if type(expr) in BINARY:
        return BINARY[type(expr)](*given)
    if isinstance(expr, tirx.Cast):
        return _cast(expr, given[0])
    if called(expr) in ROUND:
        return ROUND[called(expr)](given[0])
    if isinstance(expr, tirx.Not):
        return np.logical_not(given[0])
    if isinstance(expr, tirx.Select) or called(expr) == "if_then_else":
        return np.where(given[0], given[1], given[2])
    return None
