"""Bit-exact packing of quantized weights to the bytes the machine loads, and back.

A weight segment starts with a directory: u32 panel count, then count + 1 u32 offsets. Panel
``(batch * column_blocks + column_block) * groups + group`` covers a group of up to 128 input
channels (rows; as many as the format says) and 128 output channels (columns):

====================  =====================================================================
bytes                 meaning
====================  =====================================================================
4                     format code, rows - 1, columns - 1, base exponent e = min Isf of rows
rows * pitch          dense slots, pitch = ceil(columns / 8) * bits, low bits first; fineq has
                      the groups of `target.clusters` instead, 38 bytes a column of 128 rows
scales of columns     of formats that have them: 2 bytes each in fp16, 1 in E8M0 and E4M3; in
                      front of the latter 4 of the factor, fp32
per row (ms2, ms4)    Isf; in formats with outliers also one identifier bit per micro-block, and
                      for each flagged one the MXScale byte and the 24-bit permutation list
====================  =====================================================================

Layout after MicroScopiQ A1 (Fig. 5); the base exponent is ours. The MXScale byte holds
``E - Isf`` where the paper's reduction gives ``E + Isf``: with Isf below -8, common in real
models, the paper's sum leaves the 5 + 3 bits, while the difference is never negative.
"""

import struct

import numpy as np

from .clusters import pack_clusters, panel_bytes, pattern_count, unpack_clusters
from .errors import InputError, IsaError
from .formats import (
    BY_CODE,
    MACRO_BLOCK,
    MAX_OUTLIERS,
    MICRO_BLOCK,
    OUTLIER_EXPONENT,
    WEIGHT_FORMATS,
    outlier_exponent_range,
)
from .segment import check_segment, is_shape_only, segment_of
from .weight import QuantizedWeight, blocks, empty

HEADER = struct.Struct("<BBBb")


def pack(weights: list[QuantizedWeight]) -> bytes:
    """Return the weight segment of one operator; the list is its batch (groups of a conv)."""
    panels = []
    for weight in weights:
        out, inputs = weight.slots.shape
        for column in range(0, out, MACRO_BLOCK):
            for group in range(0, inputs, weight.row.group):
                panels.append(_pack_panel(weight, column, group))
    return segment_of(panels)


def unpack(segment: bytes, format_name: str, out: int, inputs: int) -> list[QuantizedWeight]:
    """Return the batch of weights of a segment; inverts `pack`.

    Raises
    ------
    InputError
        For a segment whose directory or panels don't fit the shape or format, or that has bytes
        which mean nothing.
    """
    size = WEIGHT_FORMATS[format_name].group
    per_matrix = blocks(out, MACRO_BLOCK) * blocks(inputs, size)
    try:
        check_segment(segment)
    except IsaError as error:
        raise InputError(str(error)) from None
    if not segment or is_shape_only(segment):
        raise InputError(f"weight segment of {len(segment)} bytes has no weights to unpack")
    (count,) = struct.unpack_from("<I", segment)
    if count % per_matrix:
        raise InputError(f"weight segment has {count} panels; ({out}, {inputs}) has {per_matrix}")
    offsets = np.frombuffer(segment, "<u4", count + 1, 4)
    weights, number = [], 0
    for _ in range(count // per_matrix):
        weight = empty(format_name, out, inputs)
        for column in range(0, out, MACRO_BLOCK):
            for group in range(0, inputs, size):
                panel = segment[offsets[number] : offsets[number + 1]]
                _unpack_panel(weight, panel, column, group)
                number += 1
        weights.append(weight)
    return weights


def bits_per_weight(segment: bytes, weights: int) -> float:
    """Return the honest figure: all bytes of the segment, directory and padding included."""
    return 8 * len(segment) / weights


def _pack_panel(weight: QuantizedWeight, column: int, group: int) -> bytes:
    row = weight.row
    slots = weight.slots[column : column + MACRO_BLOCK, group : group + row.group].T
    rows, cols = slots.shape
    if row.cluster:
        first = pattern_count(group, row.group)
        pairs = slice(first, first + pattern_count(rows, row.group))
        dense = pack_clusters(slots.T, weight.part("pattern")[column : column + cols, pairs])
    else:
        dense = _pack_slots(slots, row.bits)
    if row.column_scale is not None:
        scales = _pack_scales(weight, group // row.group, slice(column, column + cols))
        return HEADER.pack(row.code, rows - 1, cols - 1, 0) + dense + scales
    isf = weight.part("isf")[column // MACRO_BLOCK, group : group + rows]
    header = HEADER.pack(row.code, rows - 1, cols - 1, int(isf.min()))
    if not row.has_outliers:
        return header + dense + isf.astype(np.int8).tobytes()
    return header + dense + _pack_metadata(weight, isf, column, group, rows, cols)


def _pack_scales(weight: QuantizedWeight, group: int, columns: slice) -> bytes:
    """Return the scales of some columns, behind their factor if they have one."""
    row, kind = weight.row, weight.row.column_scale
    assert kind is not None
    stored = np.ascontiguousarray(weight.part("scale")[group, columns], kind.dtype)
    unknown = np.flatnonzero(np.isnan(kind.decode(stored, row.fraction_bits)))
    if len(unknown):
        raise InputError(
            f"output channel {columns.start + unknown[0]}, group {group}: a scale of "
            f"{stored[unknown[0]]} in {row.name}; allowed: {kind.allowed}"
        )
    factor = weight.part("factor").astype("<f4").tobytes() if kind.factor_bytes else b""
    return factor + stored.tobytes()


def _pack_slots(slots: np.ndarray, bits: int) -> bytes:
    """Return the slots ``(rows, cols)`` of a panel, every row from a byte of its own."""
    rows, cols = slots.shape
    padded = np.zeros((rows, blocks(cols, 8) * 8), np.uint8)
    padded[:, :cols] = slots
    split = (padded[:, :, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(split.reshape(rows, -1), axis=1, bitorder="little").tobytes()


def _pack_metadata(weight, isf, column, group, rows, cols) -> bytes:
    """Return Isf, identifiers, MXScale bytes and permutation lists of a panel's rows."""
    level1, micro_bits = OUTLIER_EXPONENT[weight.row.bits]
    first, micro = column // MICRO_BLOCK, blocks(cols, MICRO_BLOCK)
    window = np.s_[first : first + micro, group : group + rows]
    relative = weight.part("relative_exponent")[window].T.astype(np.int32)
    pairs = weight.part("pairs")[window].swapaxes(0, 1).astype(np.int32)
    flagged = relative >= 0
    _, high = outlier_exponent_range(weight.row.bits)
    if (relative[flagged] > high).any():
        raise InputError(
            f"outlier exponent {relative.max()} over its inlier scale; the MXScale byte of "
            f"{weight.format} holds 0 to {high}"
        )
    ident_bytes = blocks(micro, 8)
    meta = np.zeros((rows, 1 + ident_bytes + 4 * micro), np.uint8)
    used = np.ones(meta.shape, bool)
    meta[:, 0] = isf.astype(np.int8).view(np.uint8)
    meta[:, 1 : 1 + ident_bytes] = np.packbits(flagged, axis=1, bitorder="little")
    # The microexponent takes what the signed level-1 exponent can't.
    micro_exponent = np.maximum(0, relative - ((1 << (level1 - 1)) - 1))
    mxscale = ((relative - micro_exponent) << micro_bits | micro_exponent) & 0xFF
    entries = np.where(pairs[..., 0] >= 0, pairs[..., 0] << 3 | pairs[..., 1], 0)
    perm = (entries << (6 * np.arange(MAX_OUTLIERS))).sum(-1)
    tail = meta[:, 1 + ident_bytes :].reshape(rows, micro, 4)
    tail[..., 0] = mxscale
    for byte in range(3):
        tail[..., 1 + byte] = (perm >> (8 * byte)) & 0xFF
    used[:, 1 + ident_bytes :] = np.repeat(flagged, 4, axis=1)
    return meta[used].tobytes()


def _unpack_panel(weight: QuantizedWeight, panel: bytes, column: int, group: int) -> None:
    row = weight.row
    _require(panel, HEADER.size)
    code, rows, cols, base = HEADER.unpack_from(panel)
    rows, cols = rows + 1, cols + 1
    window = weight.slots[column : column + MACRO_BLOCK, group : group + row.group]
    if code != row.code or window.shape != (cols, rows):
        name = BY_CODE[code].name if code in BY_CODE else code
        raise InputError(f"panel of {rows}x{cols} {name}; expected {window.shape[::-1]} {row.name}")
    pitch = blocks(cols, 8) * row.bits
    position = HEADER.size + (panel_bytes(rows, cols) if row.cluster else rows * pitch)
    _require(panel, position)
    if row.cluster:
        first = pattern_count(group, row.group)
        found, pattern = unpack_clusters(panel[HEADER.size : position], rows, cols)
        window[:] = found
        weight.part("pattern")[column : column + cols, first : first + pattern.shape[1]] = pattern
    else:
        dense = np.frombuffer(panel, np.uint8, rows * pitch, HEADER.size).reshape(rows, pitch)
        bits = np.unpackbits(dense, axis=1, bitorder="little").reshape(rows, -1, row.bits)
        codes = (bits << np.arange(row.bits, dtype=np.uint8)).sum(-1, dtype=np.uint8)
        window[:] = codes[:, :cols].T
    least = 0
    if (kind := row.column_scale) is not None:
        end = position + kind.factor_bytes + kind.dtype.itemsize * cols
        _require(panel, end)
        scale = np.frombuffer(panel, kind.dtype, cols, position + kind.factor_bytes)
        weight.part("scale")[group // row.group, column : column + cols] = scale
        if kind.factor_bytes:
            _keep_factor(weight, np.frombuffer(panel, "<f4", 1, position)[0], column, group)
        position = end
    else:
        for k in range(group, group + rows):
            position = _unpack_row(weight, panel, position, column, cols, k)
        least = int(weight.part("isf")[column // MACRO_BLOCK, group : group + rows].min())
    if position != len(panel):
        raise InputError(
            f"panel of {rows}x{cols} {row.name} has {len(panel)} bytes; it ends at {position}"
        )
    if base != least:
        raise InputError(
            f"panel of {rows}x{cols} {row.name}: base exponent {base}; expected {least}"
        )


def _keep_factor(weight: QuantizedWeight, factor: np.float32, column: int, group: int) -> None:
    """Keep the factor of the first panel, and refuse another one in a later panel."""
    known = weight.part("factor")
    if not column and not group:
        known[:] = factor
    elif factor.tobytes() != known.tobytes():
        raise InputError(
            f"panel of output channel {column}, input channel {group}: a factor of {factor}; "
            f"allowed: {known[0]}, that of the tensor's first panel"
        )


def _require(panel: bytes, end: int) -> None:
    """Refuse a panel that ends before what it should hold."""
    if len(panel) < end:
        raise InputError(f"panel has {len(panel)} bytes; its contents end at {end} or later")


def _unpack_row(weight, panel, position, column, cols, k) -> int:
    """Read one row's metadata; return the position after it."""
    micro = blocks(cols, MICRO_BLOCK) if weight.row.has_outliers else 0
    end = position + 1 + blocks(micro, 8)
    _require(panel, end)
    (isf,) = struct.unpack_from("<b", panel, position)
    weight.part("isf")[column // MACRO_BLOCK, k] = isf
    if not micro:
        return end
    _, micro_bits = OUTLIER_EXPONENT[weight.row.bits]
    ident = int.from_bytes(panel[position + 1 : end], "little")
    if ident >> micro:
        raise InputError(f"input channel {k} flags micro-block {ident.bit_length() - 1} of {micro}")
    _require(panel, end + 4 * ident.bit_count())
    position = end
    for block in range(micro):
        if not ident >> block & 1:
            continue
        (level1,) = struct.unpack_from("<b", panel, position)
        micro_exponent = level1 & ((1 << micro_bits) - 1)
        index = column // MICRO_BLOCK + block
        weight.part("relative_exponent")[index, k] = (level1 >> micro_bits) + micro_exponent
        perm = int.from_bytes(panel[position + 1 : position + 4], "little")
        for entry in range(MAX_OUTLIERS):
            upper, lower = perm >> (6 * entry + 3) & 7, perm >> (6 * entry) & 7
            if upper != lower:
                weight.part("pairs")[index, k, entry] = upper, lower
        position += 4
    return position
