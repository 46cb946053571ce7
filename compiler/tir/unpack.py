"""Decoding of packed weights as TIR: the reference reads the bytes that the machine loads.

``unpack`` of a segment gives the aligned integers ``(batch, out, in)`` int32 and the factors of
their group sums ``(batch, groups, out)`` fp32; see `target.packing` for the layout.
"""

import functools

from tvm import tirx
from tvm.script import tirx as T

from ...target.clusters import MAGNITUDE, PATTERN_BITS, SIGN
from ...target.formats import (
    CLUSTER,
    CLUSTER_BITS,
    CLUSTER_GROUP,
    CLUSTER_PAIR,
    MACRO_BLOCK,
    MAX_OUTLIERS,
    MICRO_BLOCK,
    OUTLIER_EXPONENT,
    VICTIM,
    VICTIM_BIAS,
    WEIGHT_FORMATS,
)
from ...target.packing import HEADER
from ...target.weight import blocks
from . import script
from .segment_bytes import byte_at, half_at, signed_at, slot_at, word_at
from .unpack_columns import unpack_columns

HEAD = HEADER.size


@functools.lru_cache(maxsize=256)
def unpack(format_name: str, batch: int, out: int, inputs: int) -> tirx.PrimFunc:
    """Return the PrimFunc ``(segment uint8 (any size), w int32, scale float32)`` of a format."""
    row = WEIGHT_FORMATS[format_name]
    template = _template(format_name)
    sizes = (batch, out, inputs, blocks(inputs, row.group), blocks(out, MACRO_BLOCK))
    return template.specialize(dict(zip(template.params[3:], sizes, strict=True)))


@functools.lru_cache
def _template(format_name: str) -> tirx.PrimFunc:
    """Return `unpack` of any size: parsing TVMScript takes 0.1 s, giving it its sizes nothing."""
    row = WEIGHT_FORMATS[format_name]
    if row.has_outliers:
        return _microscopiq(row)
    if row.pairs:
        return _pairs(row)
    if row.cluster:
        return _clusters(row)
    return unpack_columns(row)


def _pairs(row):
    """Return the decoder of codes that a victim beside them makes outliers (`target.victims`)."""
    bits, group, bias = row.bits, row.group, VICTIM_BIAS
    mask, sign, victim = (1 << bits) - 1, 1 << (bits - 1), VICTIM

    @script.prim_func(s_tir=True)
    def unpack_pairs(
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
            # start of the slots, rows, columns, a code and its neighbour
            state = T.sblock_alloc_buffer((5,), "int32")
            for b, nb, g in T.grid(batch, column_blocks, groups):
                state[0] = word_at(segment, 4 + 4 * ((b * column_blocks + nb) * groups + g)) + HEAD
                state[1] = T.min(group, inputs - g * group)
                state[2] = T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK)
                for k, j in T.grid(
                    T.min(group, inputs - g * group), T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK)
                ):
                    state[3] = slot_at(segment, state[0], k, j, state[2], bits, mask)
                    state[4] = 0
                    if (k ^ 1) < state[1]:
                        state[4] = slot_at(segment, state[0], k ^ 1, j, state[2], bits, mask)
                    w[b, nb * MACRO_BLOCK + j, g * group + k] = T.Select(
                        state[3] == victim,
                        0,
                        T.Select(
                            state[4] == victim,
                            T.Select((state[3] & (sign - 1)) == 0, 0, 1 - ((state[3] & sign) >> 2))
                            * ((2 + (state[3] & 1)) << (((state[3] >> 1) & 3) + bias)),
                            (state[3] ^ sign) - sign,
                        ),
                    )
                for j in range(T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK)):
                    scale[b, g, nb * MACRO_BLOCK + j] = T.Cast(
                        "float32",
                        T.reinterpret(
                            "float16",
                            half_at(
                                segment,
                                state[0] + state[1] * ((state[2] + 7) // 8 * bits) + 2 * j,
                            ),
                        ),
                    )

    return unpack_pairs


def _microscopiq(row):
    bits, guard, mantissa_bits = row.bits, row.guard_bits, row.mantissa_bits
    half = mantissa_bits // 2
    group = row.group
    mask, sign, low = (1 << bits) - 1, 1 << (bits - 1), (1 << half) - 1
    micro_bits = OUTLIER_EXPONENT[bits][1]
    micro_mask = (1 << micro_bits) - 1
    hidden = 1 << mantissa_bits

    @script.prim_func(s_tir=True)
    def unpack_microscopiq(
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
            # start of the slots, position in the metadata, base exponent, alignment shift
            state = T.sblock_alloc_buffer((4,), "int32")
            for b, nb, g in T.grid(batch, column_blocks, groups):
                state[0] = word_at(segment, 4 + 4 * ((b * column_blocks + nb) * groups + g)) + HEAD
                state[1] = state[0] + T.min(group, inputs - g * group) * (
                    (T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK) + 7) // 8 * bits
                )
                state[2] = signed_at(segment, state[0] - 1)
                for j in range(T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK)):
                    scale[b, g, nb * MACRO_BLOCK + j] = T.reinterpret(
                        "float32", (state[2] - guard + 127) << 23
                    )
                for k in range(T.min(group, inputs - g * group)):
                    state[3] = signed_at(segment, state[1]) - state[2]
                    for j in range(T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK)):
                        slot = slot_at(
                            segment,
                            state[0],
                            k,
                            j,
                            T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK),
                            bits,
                            mask,
                        )
                        w[b, nb * MACRO_BLOCK + j, g * group + k] = T.Select(
                            (slot & sign) != 0, 0 - (slot & (sign - 1)), slot & (sign - 1)
                        ) << (guard + state[3])
                    ident = T.sblock_alloc_buffer((1,), "int32")
                    ident[0] = byte_at(segment, state[1] + 1)
                    if T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK) > 8 * MICRO_BLOCK:
                        ident[0] = ident[0] | (byte_at(segment, state[1] + 2) << 8)
                        state[1] = state[1] + 1
                    state[1] = state[1] + 2
                    for u in range(
                        (T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK) + MICRO_BLOCK - 1)
                        // MICRO_BLOCK
                    ):
                        if ((ident[0] >> u) & 1) != 0:
                            exponent = (
                                (signed_at(segment, state[1]) >> micro_bits)
                                + (byte_at(segment, state[1]) & micro_mask)
                                + state[3]
                            )
                            lists = (
                                byte_at(segment, state[1] + 1)
                                | (byte_at(segment, state[1] + 2) << 8)
                                | (byte_at(segment, state[1] + 3) << 16)
                            )
                            for entry in range(MAX_OUTLIERS):
                                upper = (lists >> (6 * entry + 3)) & 7
                                lower = (lists >> (6 * entry)) & 7
                                if upper != lower:
                                    code_u = slot_at(
                                        segment,
                                        state[0],
                                        k,
                                        u * MICRO_BLOCK + upper,
                                        T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK),
                                        bits,
                                        mask,
                                    )
                                    code_l = slot_at(
                                        segment,
                                        state[0],
                                        k,
                                        u * MICRO_BLOCK + lower,
                                        T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK),
                                        bits,
                                        mask,
                                    )
                                    w[
                                        b, nb * MACRO_BLOCK + u * MICRO_BLOCK + upper, g * group + k
                                    ] = (
                                        T.Select((code_u & sign) != 0, -1, 1)
                                        * (hidden + ((code_u & low) << half) + (code_l & low))
                                    ) << exponent
                                    w[
                                        b, nb * MACRO_BLOCK + u * MICRO_BLOCK + lower, g * group + k
                                    ] = 0
                            state[1] = state[1] + 4

    return unpack_microscopiq


def _clusters(row):
    group = row.group

    @script.prim_func(s_tir=True)
    def unpack_clusters(
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
            # first byte of a group of clusters, columns and rows that are left from there; bits,
            # pattern and code of a weight: written out in place they'd take LLVM seconds
            state = T.sblock_alloc_buffer((6,), "int32")
            for b, nb, g in T.grid(batch, column_blocks, groups):
                state[0] = word_at(segment, 4 + 4 * ((b * column_blocks + nb) * groups + g)) + HEAD
                state[1] = T.min(MACRO_BLOCK, out - nb * MACRO_BLOCK)
                for start in range(
                    (T.min(group, inputs - g * group) + CLUSTER_GROUP - 1) // CLUSTER_GROUP
                ):
                    state[2] = T.min(CLUSTER_GROUP, inputs - g * group - start * CLUSTER_GROUP)
                    state[2] = T.min(state[2], group - start * CLUSTER_GROUP)
                    for j, k in T.grid(state[1], state[2]):
                        state[3] = _payload(segment, state[0] + j * _group_bytes(state[2]), k)
                        state[4] = _pattern(
                            segment, state[0] + j * _group_bytes(state[2]), state[2], k
                        )
                        state[5] = _code(state[3], state[4], k % CLUSTER)
                        w[b, nb * MACRO_BLOCK + j, g * group + start * CLUSTER_GROUP + k] = (
                            T.Select(
                                (state[5] & SIGN) != 0,
                                0 - (state[5] & MAGNITUDE),
                                state[5] & MAGNITUDE,
                            )
                        )
                    state[0] = state[0] + state[1] * _group_bytes(state[2])
                for j in range(state[1]):
                    scale[b, g, nb * MACRO_BLOCK + j] = T.Cast(
                        "float32", T.reinterpret("float16", half_at(segment, state[0] + 2 * j))
                    )

    return unpack_clusters


def _group_bytes(rows):
    """Return the bytes of a column's group, as `target.clusters` does, of an expression."""
    clusters, pairs = (rows + CLUSTER - 1) // CLUSTER, (rows + CLUSTER_PAIR - 1) // CLUSTER_PAIR
    return (clusters * CLUSTER_BITS + pairs * PATTERN_BITS + 7) // 8


def _payload(segment, start, k):
    """Return the bits of the cluster of weight k, of the group of clusters at a byte."""
    bit = k // CLUSTER * CLUSTER_BITS
    # The byte after a payload is the group's or, in its last byte, the next one's.
    both = byte_at(segment, start + bit // 8) | (byte_at(segment, start + bit // 8 + 1) << 8)
    return both >> (bit % 8)


def _pattern(segment, start, rows, k):
    """Return the pattern of the pair of clusters of weight k."""
    bit = (rows + CLUSTER - 1) // CLUSTER * CLUSTER_BITS + k // CLUSTER_PAIR * PATTERN_BITS
    return (byte_at(segment, start + bit // 8) >> (bit % 8)) & 3


def _code(payload, pattern, place):
    """Return sign and magnitude of a weight at a place of its cluster."""
    narrow = (payload >> (2 * place)) & 3
    # The zero isn't stored: places behind it move up by one.
    moved = T.Select(place >= pattern, place - 1, place)
    wide = T.Select(place == pattern - 1, 0, (payload >> (3 * moved)) & 7)
    return T.Select(pattern == 0, (narrow & 1) | ((narrow & 2) << 1), wide)
