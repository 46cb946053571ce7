"""What the vector unit's operations make of TIR expressions, by the types of their operands.

A word holds fp32 or int32. Truth is 1.0 or 0.0. Integers of other widths are int32 words: narrower
ones fit, and of int64 the unit refuses whatever doesn't, so that a result is right or an error.
"""

from tvm import tirx
from tvm.ir.prim import expr

from ....target.vector_operations import NUMBERS
from .refusal import Refused

FLOAT, BOOL, INT, LONG = "float32", "bool", "int32", "int64"
NARROW = ("int8", "uint8", "int16")
DTYPES = (FLOAT, BOOL, INT, LONG, *NARROW)
"""Of tensors that the unit loads and stores."""

_FLOATS = {
    tirx.Add: "add",
    tirx.Sub: "subtract",
    tirx.Mul: "multiply",
    tirx.Div: "divide",
    tirx.Max: "max",
    tirx.Min: "min",
}
_EXTREMES = {tirx.Max: "int_max", tirx.Min: "int_min"}
QUOTIENTS = {
    tirx.FloorDiv: "floor_divide",
    tirx.FloorMod: "floor_modulo",
    tirx.Div: "truncate_divide",
    tirx.Mod: "truncate_modulo",
}
_WRAPPING = {tirx.Add: "int_add", tirx.Sub: "int_subtract", tirx.Mul: "int_multiply"}
_BITS = {expr.BitwiseAnd: "bit_and", expr.BitwiseOr: "bit_or", expr.BitwiseXor: "bit_xor"}
_SHIFTS = {expr.LShift: "shift_left", expr.RShift: "shift_right"}
_CHECKED = {tirx.Add: "checked_add", tirx.Sub: "checked_subtract", tirx.Mul: "checked_multiply"}
ARITHMETIC = {
    FLOAT: _FLOATS,
    BOOL: {
        tirx.And: "multiply",
        tirx.Or: "max",
        tirx.Max: "max",
        tirx.Min: "min",
        expr.BitwiseAnd: "multiply",
        expr.BitwiseOr: "max",
        expr.BitwiseXor: "not_equal",
    },
    INT: _WRAPPING | QUOTIENTS | _EXTREMES | _BITS | _SHIFTS,
    LONG: _CHECKED | QUOTIENTS | _EXTREMES | _BITS | {expr.RShift: "shift_right"},
    **dict.fromkeys(NARROW, _EXTREMES | _BITS),
}
"""By the type of the operands."""
COMPARE = {tirx.LT: "less", tirx.LE: "less_equal", tirx.EQ: "equal", tirx.NE: "not_equal"}
SWAPPED = {tirx.GT: "less", tirx.GE: "less_equal"}
CALLS = {FLOAT: {"round": "nearbyint", **{name: name for name in NUMBERS}}}
"""Intrinsics by name."""
DYADIC = "q_multiply_shift_per_axis"
"""The intrinsic of a product with a dyadic number."""
REDUCTIONS = {
    FLOAT: {name: name for name in ("sum", "maximum", "minimum")},
    BOOL: {name: name for name in ("maximum", "minimum")},
    INT: {name: f"int_{name}" for name in ("sum", "maximum", "minimum")},
    **{key: {name: f"int_{name}" for name in ("maximum", "minimum")} for key in (LONG, *NARROW)},
}


def scaled_by(call) -> list:
    """Return what a dyadic product multiplies, its factor, and its shift behind 31 bits.

    Raises
    ------
    Refused
        For one that shifts to the left first, or has another point than that of 31 bits.
    """
    value, factor, left, right, point, shifts_left = call.args[:6]
    if int(point) != 31 or int(shifts_left):
        raise Refused(f"the vector unit has no {DYADIC} with point {point} and left shift {left}")
    return [value, factor, right]


def dtype_of(expr) -> str:
    """Return the element type of an expression."""
    return str(expr.ty.dtype)


def is_float(dtype: str) -> bool:
    """Tell whether words of a type are fp32."""
    return dtype in (FLOAT, BOOL)


def operation(table: dict[str, dict], dtype: str, key) -> str:
    """Return an operation of one of the tables above.

    Raises
    ------
    Refused
        When there is none for that type.
    """
    found = table.get(dtype, {}).get(key)
    if found is None:
        name = key if isinstance(key, str) else key.__name__
        raise Refused(f"the vector unit has no {name} of {dtype}")
    return found


def comparison(name: str, dtype: str) -> str:
    """Return a comparison's operation for operands of a type."""
    if dtype not in DTYPES:
        raise Refused(f"the vector unit has no {name} of {dtype}")
    return name if is_float(dtype) else f"int_{name}"


LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(1 << 15), (1 << 15) - 1)}


def cast(source: str, target: str) -> list[tuple[str, int | float | None]]:
    """Return the steps from words of one type to those of another: operations, second operands.

    Raises
    ------
    Refused
        For types that no steps lead between.
    """
    if source not in DTYPES or target not in DTYPES:
        raise Refused(f"the vector unit has no cast from {source} to {target}")
    if source == target or {source, target} == {INT, LONG}:
        return []
    if target == BOOL:
        return [("not_equal", 0.0) if is_float(source) else ("int_not_equal", 0)]
    if target == FLOAT:
        return [] if source == BOOL else [("int32_to_float32", None)]
    if (source, target) == (FLOAT, LONG):
        # A saturated number, from which 1 more is refused as what doesn't fit.
        return [("float32_to_int32", None)]
    steps: list[tuple[str, int | float | None]] = []
    if is_float(source):
        steps.append(("float32_to_int32", None))
    if source == FLOAT and target in NARROW:
        if target != "int8":
            raise Refused(f"the vector unit has no cast from {source} to {target}")
        low, high = LIMITS[target]
        return [*steps, ("int_min", high), ("int_max", low)]
    return steps + _narrowed(source, target)


def _narrowed(source: str, target: str) -> list:
    """Return steps that keep the lowest bits of integers."""
    if target not in NARROW or source == BOOL:
        return []
    if target == "uint8":
        return [("bit_and", 255)]
    bits = 24 if target == "int8" else 16
    return [("shift_left", bits), ("shift_right", bits)]
