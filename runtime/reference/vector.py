"""Meaning of the vector unit's elementwise operations and of its reductions of rows."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...target.errors import SimError
from ...target.isa.spec import Affine, Instruction, Mem
from ...target.vector_operations import (
    CASTS,
    NUMBERS,
    OPERATIONS,
    PARTIALS,
    REDUCTIONS,
)
from .functions import apply_function
from .integers import INTEGERS, apply_integers
from .state import Box, State

LARGEST = float(np.finfo(np.float32).max)
TYPES = {"float32": "<f4", "int32": "<i4", "word": "<u4"}

MAPS: dict[str, Callable] = {
    "copy": lambda a: a,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "select": lambda a, b, c: np.where(a != 0, b, c),
    **{name: partial(apply_function, name) for name in (*NUMBERS, *CASTS)},
    "int_less": lambda a, b: a < b,
    "int_less_equal": lambda a, b: a <= b,
    "int_equal": lambda a, b: a == b,
    "int_not_equal": lambda a, b: a != b,
    **{name: partial(apply_integers, OPERATIONS[name]) for name in INTEGERS},
}
LEAST, MOST = np.iinfo(np.int32).min, np.iinfo(np.int32).max
REDUCES: dict[str, tuple[float, Callable]] = {
    "sum": (0.0, np.add),
    "maximum": (-LARGEST, lambda whole, x: np.where(whole > x, whole, x)),
    "minimum": (LARGEST, lambda whole, x: np.where(whole < x, whole, x)),
    "int_sum": (0, np.add),
    "int_maximum": (LEAST, np.maximum),
    "int_minimum": (MOST, np.minimum),
}
"""By name: where partial results start, and how an element joins one."""
PLACES: dict[str, tuple[float, Callable]] = {
    "argmax": (-LARGEST, np.greater),
    "argmin": (LARGEST, np.less),
}
"""By name: what a row's elements have to beat at first, and what beats."""


def fill(state: State, i: Instruction) -> None:
    if box := state.box(i):
        state.store(Mem.OBUF, i.dst, i.dst_pitch, np.full(box, i.value, np.float32))


def fill_int(state: State, i: Instruction) -> None:
    if box := state.box(i):
        state.store(Mem.OBUF, i.dst, i.dst_pitch, np.full(box, i.value, np.int32))


def map_elements(state: State, i: Instruction) -> None:
    if not (box := state.box(i)):
        return
    row = list(OPERATIONS.values())[i.operation - 1]
    given = [(i.a, i.a_pitch, i.a_step), (i.b, i.b_pitch, i.b_step), (i.c, i.c_pitch, i.c_step)]
    if any(pitch or step for _, pitch, step in given[row.operands :]):
        raise SimError(f"{row.name} has {row.operands} operands")
    values = [
        _operand(state, *each, box, dtype) for each, dtype in zip(given, row.inputs, strict=False)
    ]
    for at, pitch, step in given[: row.operands]:
        _check_apart(state, i, (at, pitch, step), box)
    with np.errstate(all="ignore"):
        found = MAPS[row.name](*(np.broadcast_to(value, box).copy() for value in values))
    state.store(Mem.OBUF, i.dst, i.dst_pitch, np.broadcast_to(found, box).astype(TYPES[row.output]))


def reduce_rows(state: State, i: Instruction) -> None:
    if not (box := state.box(i)):
        return
    row = list(REDUCTIONS.values())[i.operation - 1]
    (dtype,) = row.inputs
    data = _operand(state, i.src, i.src_pitch, 4, box, dtype)
    source = _span(state.at(i.src), i.src_pitch, 4, box)
    if _meet(_span(state.at(i.dst), i.dst_pitch, 4, (box[0], 1)), source):
        raise SimError("the results lie in the rows that are reduced")
    whole = _place(row.name, data) if row.name in PLACES else _reduced(row.name, data)
    state.store(Mem.OBUF, i.dst, i.dst_pitch, whole[:, None].astype(TYPES[row.output]))


def reduce_part(state: State, i: Instruction) -> None:
    if not (box := state.box(i)):
        return
    row = list(REDUCTIONS.values())[i.operation - 1]
    (dtype,) = row.inputs
    data = _operand(state, i.src, i.src_pitch, 4, box, dtype)
    width = 4 * PARTIALS
    mine = _span(state.at(i.dst), i.dst_pitch, 4, (box[0], PARTIALS))
    if _meet(mine, _span(state.at(i.src), i.src_pitch, 4, box)):
        raise SimError("the results lie in the rows that are reduced")
    if box[0] > 1 and i.dst_pitch < width:
        raise SimError("results lie in each other")
    partial = np.full((box[0], PARTIALS), REDUCES[row.name][0], data.dtype)
    if state.at(i.accumulate):
        there = state.load(Mem.OBUF, i.dst, i.dst_pitch, box[0], width)
        partial = there.view(TYPES[dtype]).copy()
    state.store(Mem.OBUF, i.dst, i.dst_pitch, _put(row.name, partial, data))


def _put(name: str, partial: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return partial results with the elements of rows put to them."""
    _, put = REDUCES[name]
    with np.errstate(all="ignore"):
        for first in range(0, data.shape[1], PARTIALS):
            part = data[:, first : first + PARTIALS]
            partial[:, : part.shape[1]] = put(partial[:, : part.shape[1]], part)
    return partial


def _reduced(name: str, data: np.ndarray) -> np.ndarray:
    start, put = REDUCES[name]
    partial = _put(name, np.full((len(data), PARTIALS), start, data.dtype), data)
    with np.errstate(all="ignore"):
        whole = np.full(len(data), start, data.dtype)
        for lane in range(PARTIALS):
            whole = put(whole, partial[:, lane])
    return whole


def _place(name: str, data: np.ndarray) -> np.ndarray:
    """Return where the best element of each row stands, as TVM's reducer goes through it."""
    first, beats = PLACES[name]
    best, place = np.full(len(data), first, np.float32), np.full(len(data), -1, np.int32)
    for number, x in enumerate(data.T):
        place = np.where(beats(best, x) | (best == x), place, np.int32(number))
        best = np.where(beats(best, x), best, x)
    return place


def _operand(state: State, at: Affine, pitch: int, step: int, box: Box, dtype: str) -> np.ndarray:
    """Return numbers of the box's rows, and of its columns or one."""
    width = 4 * box[1] if step else 4
    return state.load(Mem.OBUF, at, pitch, box[0], width).view(TYPES[dtype])


def _span(start: int, pitch: int, step: int, box: Box) -> tuple[int, int]:
    return start, start + pitch * (box[0] - 1) + step * (box[1] - 1) + 4


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _check_apart(state: State, i: Instruction, operand: tuple[Affine, int, int], box: Box) -> None:
    """Refuse a result that overlaps an operand without taking its very place."""
    start, (at, pitch, step) = state.at(i.dst), operand
    same = start == state.at(at)
    same = same and (box[0] == 1 or pitch == i.dst_pitch) and (box[1] == 1 or step == 4)
    source = _span(state.at(at), pitch, step, box)
    if not same and _meet(_span(start, i.dst_pitch, 4, box), source):
        raise SimError("the result overlaps an operand")


EXECUTE = {
    "fill": fill,
    "fill.int": fill_int,
    "map": map_elements,
    "reduce": reduce_rows,
    "reduce.part": reduce_part,
}
