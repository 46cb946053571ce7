"""Between which integers a value lies, whatever is loaded: some casts change nothing then."""

from collections.abc import Callable, Sequence

from ...operators import CONSTANT, MAP, Value
from .words import COMPARE

Bounds = tuple[int, int]
"""Least and largest integer."""
WORD = -(1 << 31), (1 << 31) - 1


def _shifted(value: Bounds, count: Bounds) -> Bounds:
    least, most = count
    return (value[0] >> least, value[1] >> least) if least == most and 0 <= least < 32 else WORD


def _masked(value: Bounds, other: Bounds) -> Bounds:
    tops = [top for low, top in (value, other) if low >= 0]
    return (0, min(tops)) if tops else WORD


def _truth(*_operands: Bounds) -> Bounds:
    return 0, 1


_RULES: dict[str, Callable[..., Bounds]] = {
    "copy": lambda value: value,
    "float32_to_int32": lambda value: value,
    "select": lambda _truth, one, other: (min(one[0], other[0]), max(one[1], other[1])),
    "int_min": lambda one, other: (min(one[0], other[0]), min(one[1], other[1])),
    "int_max": lambda one, other: (max(one[0], other[0]), max(one[1], other[1])),
    "shift_right": _shifted,
    "bit_and": _masked,
    **dict.fromkeys((each for name in COMPARE.values() for each in (name, f"int_{name}")), _truth),
}
"""By operation; of others nothing is known."""


def bounds_of(value: Value, operands: Sequence[Bounds]) -> Bounds:
    """Return between which integers a word lies, those of int32 where nothing is known."""
    if value.kind == CONSTANT and isinstance(value.number, int):
        return value.number, value.number
    rule = _RULES.get(value.operation) if value.kind == MAP else None
    return rule(*operands) if rule else WORD


def within(bounds: Bounds, limits: Bounds) -> bool:
    """Tell whether all of these integers are among others."""
    return limits[0] <= bounds[0] and bounds[1] <= limits[1]
