"""Meaning of the instructions of DMA, array and vector unit, one function each.

The vector unit works in fp32: each arithmetic step here is one operation with its own rounding.
"""

from typing import Any

import numpy as np

from ...target.arch import Arch
from ...target.errors import SimError
from ...target.formats import EXPONENT_MAX, EXPONENT_MIN, ROWS_INT8, ScaleKind
from ...target.isa.spec import Affine, Instruction, Mem
from ...target.weight import blocks
from . import transfers, vector
from .array import (
    Part,
    Plane,
    configure,
    multiply,
    panel_plane,
    read_panel,
    replay_plane,
    rows_plane,
)
from .state import Box, State, check

EMPTY: Any = object()
"""What a plane holds after a preload of extent 0: a legal operand that adds nothing."""


def dma_im2col(state: State, i: Instruction) -> None:
    if not (box := state.box(i)):
        return
    m = state.at(i.row0) + np.arange(box[0])[:, None]
    k = state.at(i.col0) + np.arange(box[1])[None, :]
    if m[0, 0] < 0 or k[0, 0] < 0 or not (i.out_width and i.kernel_h and i.kernel_w):
        raise SimError(f"row {m[0, 0]}, column {k[0, 0]} of an im2col matrix")
    channel, tap = k // (i.kernel_h * i.kernel_w), k % (i.kernel_h * i.kernel_w)
    y = m // i.out_width * i.stride_h - i.pad_top + tap // i.kernel_w * i.dilation_h
    x = m % i.out_width * i.stride_w - i.pad_left + tap % i.kernel_w * i.dilation_w
    inside = (y >= 0) & (y < i.height) & (x >= 0) & (x < i.width)
    pixel = (state.at(i.src) + (channel * i.height + y) * i.width + x)[inside]
    image = state.argument(i.arg)
    if pixel.size:
        check(f"argument {i.arg}", len(image), int(pixel.min()), int(pixel.max()))
    data = np.zeros(box, np.uint8)
    data[inside] = image[pixel]
    state.store(i.mem, i.dst, i.dst_pitch, data)


def dma_weight(state: State, i: Instruction) -> None:
    segment = np.frombuffer(state.function.weights, np.uint8)
    directory = segment[: len(segment) // 4 * 4].view("<u4")
    panel, count = state.at(i.panel), int(directory[0]) if directory.size else 0
    if not 0 <= panel < count or count + 2 > directory.size:
        raise SimError(f"panel {panel} of {count} in the weight segment")
    start, end = int(directory[panel + 1]), int(directory[panel + 2])
    if not start <= end <= len(segment):
        raise SimError(f"panel {panel} at bytes {start}..{end} of {len(segment)}")
    if end - start > i.capacity:
        raise SimError(f"panel {panel} has {end - start} bytes; its slot has {i.capacity}")
    state.store(Mem.WBUF, i.dst, 0, segment[None, start:end])


def _part(state: State, i: Instruction, box: Box) -> Part:
    return Part(state.at(i.src), i.format, state.at(i.row0), state.at(i.col0), *box)


def preload(state: State, i: Instruction) -> None:
    if box := state.box(i):
        plane = panel_plane(state.memories[Mem.WBUF], _part(state, i, box), state.arch)
        state.planes[state.plane_number(i)] = plane
    else:
        state.planes[state.plane_number(i)] = EMPTY


def preload_rows(state: State, i: Instruction) -> None:
    if box := state.box(i):
        data = state.load(Mem.WBUF, i.src, i.src_pitch, box[1], box[0]).view(np.int8)
        state.planes[state.plane_number(i)] = rows_plane(data, state.arch)
    else:
        state.planes[state.plane_number(i)] = EMPTY


def preload_replay(state: State, i: Instruction) -> None:
    plane = None
    if box := state.box(i):
        plane = replay_plane(state.memories[Mem.WBUF], _part(state, i, box), state.arch)
    state.planes[state.plane_number(i)] = plane or EMPTY


def recon_config(state: State, i: Instruction) -> None:
    if box := state.box(i):
        plane = state.planes[state.plane_number(i)]
        configure(plane, state.memories[Mem.WBUF], _part(state, i, box), state.arch)


def matmul(state: State, i: Instruction) -> None:
    if not (rows := state.extent(i.rows)):
        return
    plane = state.planes[state.plane_number(i)]
    if plane is None:
        raise SimError(f"weight plane {state.plane_number(i)} holds nothing")
    if plane is EMPTY:
        return
    cols = plane.value.shape[1]
    first, count = i.src + plane.taken.start, len(plane.taken)
    x = state.load(Mem.SPAD, first, i.src_pitch, rows, count).view(np.int8)
    _check_codes(state.arch, plane, x)
    psum = multiply(plane, x)
    if state.at(i.accumulate):
        psum += state.load(Mem.ACC, i.dst, i.dst_pitch, rows, 4 * cols).view("<i4")
    limit = 1 << (state.arch.accumulator_bits - 1)
    psum = np.clip(psum, -limit, limit - 1).astype("<i4")
    state.store(Mem.ACC, i.dst, i.dst_pitch, psum)


def _check_codes(arch: Arch, plane: Plane, x: np.ndarray) -> None:
    most = arch.code_bits(plane.row.bits if plane.row else 8)
    if x.min(initial=0) < -(1 << most - 1) or x.max(initial=0) >= 1 << most - 1:
        raise SimError(f"activations beyond the {most} bits that PEs of {arch.name} take")


def drain(state: State, i: Instruction) -> None:
    if not (box := state.box(i)):
        return
    psum = state.load(Mem.ACC, i.src, i.src_pitch, box[0], 4 * box[1]).view("<i4")
    total = psum.astype(np.float32)
    total *= _weight_scale(state, i, box[1])
    shared = i.xexp_cols or box[1]
    exponents = _exponents(state, i.xexp, i.xexp_pitch, box[0], blocks(box[1], shared))
    total *= _scale(np.repeat(exponents, shared, axis=1)[:, : box[1]])
    if state.at(i.accumulate):
        total = _floats(state, i.dst, i.dst_pitch, box) + total
    state.store(Mem.OBUF, i.dst, i.dst_pitch, total)


def drain_int(state: State, i: Instruction) -> None:
    if box := state.box(i):
        total = state.load(Mem.ACC, i.src, i.src_pitch, box[0], 4 * box[1]).view("<i4")
        if state.at(i.accumulate):
            total = total + _floats(state, i.dst, i.dst_pitch, box).view("<i4")
        state.store(Mem.OBUF, i.dst, i.dst_pitch, total)


def _weight_scale(state: State, i: Instruction, cols: int) -> np.ndarray | np.float32:
    """Return the float32 weight scale of each column of a drain, or one for all."""
    if i.format == ROWS_INT8:
        exponents = state.load(Mem.WBUF, i.wscale, i.wscale_pitch, cols, 1)
        return _scale(exponents.view(np.int8)[:, 0])
    panel = read_panel(state.memories[Mem.WBUF], state.at(i.wscale), i.format)
    if cols > panel.cols:
        raise SimError(f"{cols} columns of a panel with {panel.cols}")
    if panel.row.scale is ScaleKind.ROW_POW2:
        return np.float32(2.0 ** (panel.base - panel.row.guard_bits))
    return panel.column_scales(cols)


def add(state: State, i: Instruction) -> None:
    if box := state.box(i):
        total = _floats(state, i.dst, i.dst_pitch, box)
        total += _floats(state, i.src, i.src_pitch, box)
        state.store(Mem.OBUF, i.dst, i.dst_pitch, total)


def clamp(state: State, i: Instruction) -> None:
    if box := state.box(i):
        value = _floats(state, i.dst, i.dst_pitch, box)
        low, high = np.float32(i.low), np.float32(i.high)
        value = np.where(value < low, low, value)
        state.store(Mem.OBUF, i.dst, i.dst_pitch, np.where(value > high, high, value))


def absmax(state: State, i: Instruction) -> None:
    if not (box := state.box(i)):
        return
    largest = np.abs(_finite(state, i, box)).max(axis=1)
    biased = (largest.view(np.uint32) >> 23).astype(np.int64)
    exponent = np.where(biased == 0, EXPONENT_MIN, biased - 127)
    # The largest magnitude has its first bit right below the sign of a code.
    stored = np.maximum(exponent - (i.bits - 2), EXPONENT_MIN)
    if i.dst_pitch == 0:
        stored = stored.max(keepdims=True)
    if state.at(i.accumulate):
        stored = np.maximum(stored, _exponents(state, i.dst, i.dst_pitch, len(stored))[:, 0])
    state.store(Mem.SPAD, i.dst, i.dst_pitch, stored.astype(np.int8)[:, None])


def quant(state: State, i: Instruction) -> None:
    if box := state.box(i):
        exponents = _exponents(state, i.exponent, i.exponent_pitch, box[0])
        # A power of two changes no digit, so fp64 rounds here where fp32 does.
        scaled = np.rint(np.ldexp(_finite(state, i, box).astype(np.float64), -exponents))
        largest = 2 ** (i.bits - 1) - 1
        code = np.clip(scaled, -largest, largest).astype(np.int8)
        state.store(Mem.SPAD, i.dst, i.dst_pitch, code)


def _finite(state: State, i: Instruction, box: Box) -> np.ndarray:
    value = _floats(state, i.src, i.src_pitch, box)
    if not np.isfinite(value).all():
        row, column = np.argwhere(~np.isfinite(value))[0]
        raise SimError(f"row {row}, column {column} is {value[row, column]}; it must be finite")
    return value


def _floats(state: State, first: Affine, pitch: int, box: Box) -> np.ndarray:
    return state.load(Mem.OBUF, first, pitch, box[0], 4 * box[1]).view("<f4")


def _exponents(state: State, first: Affine, pitch: int, rows: int, cols: int = 1) -> np.ndarray:
    """Return int32 ``(rows, cols)``."""
    return state.load(Mem.SPAD, first, pitch, rows, cols).view(np.int8).astype(np.int32)


def _scale(exponents: np.ndarray) -> np.ndarray:
    """Return float32 powers of two; exponents of no normal number are refused."""
    if exponents.min() < EXPONENT_MIN:
        raise SimError(f"exponent {exponents.min()}; allowed: {EXPONENT_MIN} to {EXPONENT_MAX}")
    return np.ldexp(np.float32(1), exponents)


EXECUTE = {
    "dma.im2col": dma_im2col,
    "dma.weight": dma_weight,
    "preload": preload,
    "preload.rows": preload_rows,
    "preload.replay": preload_replay,
    "recon.config": recon_config,
    "matmul": matmul,
    "drain": drain,
    "drain.int": drain_int,
    "add": add,
    "clamp": clamp,
    "absmax": absmax,
    "quant": quant,
    **transfers.EXECUTE,
    **vector.EXECUTE,
}
