"""Meaning of transfers of boxes between arguments and memories, with what they convert."""

import numpy as np

from ...target.conversions import CONVERSIONS
from ...target.errors import SimError
from ...target.isa.spec import Instruction, Mem
from .state import State

DTYPES = [None, *(np.dtype(name).newbyteorder("<") for name in CONVERSIONS)]
"""Of the elements in DRAM, by the code of their conversion."""
WORD = np.iinfo(np.int32)


def dma_load(state: State, i: Instruction) -> None:
    if box := state.box(i):
        index = state.argument_index(i, i.src, (i.src_pitch, i.src_step), box)
        _store_elements(state, i, state.argument(i.arg)[index])


def dma_gather(state: State, i: Instruction) -> None:
    if not (box := state.box(i)):
        return
    numbers = state.load(Mem.OBUF, i.index, i.index_pitch, box[0], 4).view("<i4")[:, 0]
    wrong = np.flatnonzero((numbers < 0) | (numbers >= i.limit))
    if wrong.size:
        raise SimError(f"index {numbers[wrong[0]]} of row {wrong[0]}; allowed: 0 to {i.limit - 1}")
    first, row_bytes = state.at(i.index), box[1] * (4 if i.convert else i.element)
    last, low = first + i.index_pitch * (box[0] - 1) + 4, state.at(i.dst)
    if i.mem == Mem.OBUF and first < low + i.dst_pitch * (box[0] - 1) + row_bytes and low < last:
        raise SimError("the rows lie on their indices")
    whole = state.argument_index(i, i.src, (i.src_pitch, i.src_step), (i.limit, box[1]))
    _store_elements(state, i, state.argument(i.arg)[whole[numbers]])


def dma_store(state: State, i: Instruction) -> None:
    if box := state.box(i):
        argument = state.argument(i.arg)
        if not state.function.arguments[i.arg].is_output:
            raise SimError(f"argument {i.arg} isn't an output")
        index = state.argument_index(i, i.dst, (i.dst_pitch, i.dst_step), box)
        _check_conversion(i)
        size = 4 if i.convert else i.element
        data = state.load(i.mem, i.src, i.src_pitch, box[0], box[1] * size)
        if i.convert:
            data = data.view("<i4").astype(DTYPES[i.convert]).view(np.uint8)
        argument[index] = data.reshape(index.shape)


def _store_elements(state: State, i: Instruction, data: np.ndarray) -> None:
    """Write uint8 ``(rows, cols, element)`` of DRAM into a memory, with what they convert."""
    _check_conversion(i)
    rows = data.reshape(len(data), -1)
    if i.convert:
        values = np.ascontiguousarray(rows).view(DTYPES[i.convert]).astype(np.int64)
        wrong = (values < WORD.min) | (values > WORD.max)
        if wrong.any():
            raise SimError(f"int64 {values[wrong][0]}; allowed: {WORD.min} to {WORD.max}")
        rows = values.astype("<i4")
    state.store(i.mem, i.dst, i.dst_pitch, rows)


def _check_conversion(i: Instruction) -> None:
    if not i.convert:
        return
    if i.element != DTYPES[i.convert].itemsize:
        raise SimError(f"elements of {i.element} bytes; {DTYPES[i.convert]} has others")
    if i.mem != Mem.OBUF:
        raise SimError("words are converted in obuf alone")


EXECUTE = {"dma.load": dma_load, "dma.gather": dma_gather, "dma.store": dma_store}
