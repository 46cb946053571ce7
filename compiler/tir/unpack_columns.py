"""Decoding of weights with a slot each and scales of columns: integers, minifloats, codebooks."""

from tvm import tirx
from tvm.script import tirx as T

from ...target.errors import UnsupportedError
from ...target.formats import MACRO_BLOCK, Codes, ScaleKind, WeightFormat
from ...target.packing import HEADER
from . import script
from .segment_bytes import byte_at, half_at, straddling, word_at

HEAD = HEADER.size


def unpack_columns(row: WeightFormat) -> tirx.PrimFunc:
    """Return the decoder of formats with a slot for each weight and a scale for each column."""
    if row.column_scale is None:
        raise UnsupportedError(
            f"weight format '{row.name}': scales of rows without outliers have no decoder on LLVM; "
            "allowed: scales of columns, or outliers"
        )
    bits, group = row.bits, row.group
    mask = (1 << bits) - 1

    @script.prim_func(s_tir=True)
    def unpack_slots(
        segment_handle: T.handle,
        w_handle: T.handle,
        scale_handle: T.handle,
        batch: T.int32,
        out: T.int32,
        inputs: T.int32,
        groups: T.int32,
        column_blocks: T.int32,
    ):
        T.func_attr({"tirx.noalias": True})
        size = T.int64()
        segment = T.match_buffer(segment_handle, (size,), "uint8")
        w = T.match_buffer(w_handle, (batch, out, inputs), "int32")
        scale = T.match_buffer(scale_handle, (batch, groups, out), "float32")
        with T.sblock("unpack"):
            T.reads(segment[0:size])
            T.writes(w[0:batch, 0:out, 0:inputs], scale[0:batch, 0:groups, 0:out])
            # start of the slots, columns, rows, end of the slots, a code
            state = T.sblock_alloc_buffer((5,), "int32")
            for b, nb, g in T.grid(batch, column_blocks, groups):
                state[0] = word_at(segment, 4 + 4 * ((b * column_blocks + nb) * groups + g)) + HEAD
                state[1] = T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK)
                state[2] = T.min(group, inputs - g * group)
                state[3] = state[0] + state[2] * ((state[1] + 7) // 8 * bits)
                for k, j in T.grid(state[2], state[1]):
                    state[4] = straddling(segment, state[0], k, j, state[1], bits, mask)
                    w[b, nb * MACRO_BLOCK + j, g * group + k] = _integer(state[4], row)
                for j in range(state[1]):
                    scale[b, g, nb * MACRO_BLOCK + j] = _column_scale(segment, state[3], j, row)

    return unpack_slots


def _integer(code, row):
    """Return the integer of a code."""
    sign = 1 << (row.bits - 1)
    if row.codes is Codes.TWOS_COMPLEMENT:
        return (code ^ sign) - sign
    if row.codes is Codes.SIGN_MAGNITUDE:
        return T.Select((code & sign) != 0, 0 - (code & (sign - 1)), code & (sign - 1))
    # Eight integers of a byte each are one constant: a table is as many of them as it takes.
    bytes_ = bytes(value & 255 for value in row.values).ljust(8, b"\0")
    words = [
        int.from_bytes(bytes_[n : n + 8], "little", signed=True) for n in range(0, len(bytes_), 8)
    ]
    word = tirx.const(words[0], "int64")
    for number, each in enumerate(words[1:], 1):
        word = T.Select(code >> 3 == number, tirx.const(each, "int64"), word)
    byte = (word >> T.Cast("int64", (code & 7) * 8)) & tirx.const(255, "int64")
    return (T.Cast("int32", byte) ^ 128) - 128


def _column_scale(segment, tail, j, row):
    """Return what an integer of 1 is in a column, from what lies behind the slots."""
    unit = T.float32(2.0**-row.fraction_bits)
    if row.scale is ScaleKind.COLUMN_E8M0:
        return T.reinterpret("float32", (byte_at(segment, tail + j) - row.fraction_bits) << 23)
    if row.scale is ScaleKind.COLUMN_FP16:
        half = T.Cast("float32", T.reinterpret("float16", half_at(segment, tail + 2 * j)))
        return half * unit if row.fraction_bits else half
    code = byte_at(segment, tail + 4 + j)
    # E4M3's exponent is 7 above its bias, fp32's 127; below the least one mantissas count alone.
    normal = T.reinterpret("float32", ((code >> 3) + 120) << 23 | (code & 7) << 20)
    value = T.Select(code < 8, T.Cast("float32", code) * T.float32(2.0**-9), normal)
    return value * unit * T.reinterpret("float32", word_at(segment, tail))
