"""Meaning of the vector unit's operations on words of int32, in 64 bits and then in 32."""

from collections.abc import Callable

import numpy as np

from ...target.errors import SimError
from ...target.vector_operations import Operation

WORD = np.iinfo(np.int32)
_Map = Callable[..., np.ndarray]


def _truncate_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


def _dyadic(value: np.ndarray, factor: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (value * factor + (1 << (30 + shift))) >> (31 + shift)


INTEGERS: dict[str, _Map] = {
    "int_add": np.add,
    "int_subtract": np.subtract,
    "int_multiply": np.multiply,
    "int_min": np.minimum,
    "int_max": np.maximum,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "shift_left": np.left_shift,
    "shift_right": np.right_shift,
    "floor_divide": np.floor_divide,
    "floor_modulo": np.mod,
    "truncate_divide": _truncate_divide,
    "truncate_modulo": np.fmod,
    "checked_add": np.add,
    "checked_subtract": np.subtract,
    "checked_multiply": np.multiply,
    "dyadic": _dyadic,
    "index": lambda index, size, _least: np.where(index < 0, index + size, index),
}
"""Of int64 copies of the operands."""


def _shifts_too_far(_value: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return (bits < 0) | (bits > 31)


def _has_no_quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (b == 0) | ((a == WORD.min) & (b == -1))


def _leaves(operation: _Map) -> _Map:
    def leaves(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (operation(a, b) < WORD.min) | (operation(a, b) > WORD.max)

    return leaves


REFUSED: dict[str, _Map] = {
    "shift_left": _shifts_too_far,
    "shift_right": _shifts_too_far,
    "floor_divide": _has_no_quotient,
    "floor_modulo": _has_no_quotient,
    "truncate_divide": _has_no_quotient,
    "truncate_modulo": _has_no_quotient,
    **{f"checked_{name}": _leaves(INTEGERS[f"int_{name}"]) for name in ("add", "subtract")},
    "checked_multiply": _leaves(np.multiply),
    "dyadic": lambda _value, _factor, shift: (shift < -30) | (shift > 31),
    "index": lambda index, size, least: (index < least) | (index >= size),
}
"""Where an operation has no result."""


def apply_integers(row: Operation, *operands: np.ndarray) -> np.ndarray:
    """Return the int32 words that an operation of the table gives.

    Parameters
    ----------
    operands : numpy.ndarray
        int32, of one shape ``(rows, cols)``.

    Raises
    ------
    SimError
        For the first element that has no result.
    """
    wide = [operand.astype(np.int64) for operand in operands]
    if row.refused and (wrong := REFUSED[row.name](*wide)).any():
        at = tuple(np.argwhere(wrong)[0])
        given = " and ".join(str(operand[at]) for operand in operands)
        raise SimError(f"row {at[0]}, column {at[1]}: {row.name} of {given} {row.refused}")
    return INTEGERS[row.name](*wide).astype(np.int32)
