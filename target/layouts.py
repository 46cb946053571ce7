"""Byte layouts that others have for our number formats: written and read, code by code.

Elements lie in rows of one output channel each. OCP MX v1.0 fixes what codes and scales mean and
not where they lie; `rows` is what tools that ship these formats have, scales beside the codes, and
`cublas` is what NVIDIA's products read, whose scales lie in tiles. GGUF keeps a block's scale in
front of its codes.

=========  =========================  ===========================================================
layout     formats                    bytes
=========  =========================  ===========================================================
`rows`     mxfp4, nvfp4, mxint8       codes of a row, of 4 bits two in a byte, the first one low;
                                      scales ``(out, in / block)``, a byte each
`cublas`   the same                   codes as in `rows`; scales in tiles of 128 rows by 4 blocks,
                                      512 bytes each: row r and block b of a tile at byte
                                      ``16 (r % 32) + 4 (r / 32) + b``
`gguf`     int4-g32                   Q4_0: for 32 inputs an fp16 scale and 16 bytes; byte j has
                                      inputs j (low) and j + 16, each code plus 8
=========  =========================  ===========================================================

The fp32 factor of NVFP4 is a number beside the bytes (`Stored.factor`). MXINT8's code is two's
complement, 64ths.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .errors import InputError
from .formats import WEIGHT_FORMATS
from .weight import QuantizedWeight, blocks, empty

TILE_ROWS, TILE_BLOCKS, TILE_SUBROWS = 128, 4, 32
"""Of a tile of scales, and rows of it that follow each other in memory (cuBLAS)."""
OFFSET = 8
"""What Q4_0 adds to a code of 4 bits (GGUF)."""


@dataclass(frozen=True)
class Stored:
    """A matrix in a layout.

    Attributes
    ----------
    codes : bytes
        With the scales in between where a layout has them so.
    scales : bytes
    factor : float
        What all scales are multiplied by; 1 but for NVFP4.
    """

    codes: bytes
    scales: bytes = b""
    factor: float = 1.0


@dataclass(frozen=True)
class Layout:
    """How a matrix of some formats lies in memory.

    Attributes
    ----------
    formats : tuple of str
    write : callable
        A weight, as `Stored`.
    read : callable
        `Stored`, format, and ``(out, in)``; back.
    """

    formats: tuple[str, ...]
    write: Callable[[QuantizedWeight], Stored]
    read: Callable[[Stored, str, int, int], QuantizedWeight]


def write(weight: QuantizedWeight, layout: str) -> Stored:
    """Return a weight in a layout.

    Raises
    ------
    InputError
        For a layout that its format hasn't, and inputs that don't fill its blocks.
    """
    return _layout(layout, weight.format, weight.slots.shape[1]).write(weight)


def read(stored: Stored, format_name: str, out: int, inputs: int, layout: str) -> QuantizedWeight:
    """Return the weight ``(out, in)`` of bytes in a layout; inverts `write`.

    Raises
    ------
    InputError
        As `write`; for another number of bytes, and codes or scales that no machine takes.
    """
    found = _layout(layout, format_name, inputs).read(stored, format_name, out, inputs)
    row = found.row
    taken = np.abs(np.array(row.values)) <= row.q_max
    if not (good := taken[found.slots]).all():
        place = np.argwhere(~good)[0]
        raise InputError(
            f"{layout}: output channel {place[0]}, input {place[1]} has code "
            f"{found.slots[tuple(place)]} of '{format_name}'; allowed: those of -{row.q_max} to "
            f"{row.q_max}"
        )
    assert row.column_scale is not None
    scale = row.column_scale.decode(found.part("scale"), row.fraction_bits)
    if not np.isfinite(scale).all():
        place = np.argwhere(~np.isfinite(scale))[0]
        raise InputError(
            f"{layout}: output channel {place[1]}, block {place[0]} has a scale of "
            f"{found.part('scale')[tuple(place)]}; allowed: {row.column_scale.allowed}"
        )
    return found


def _layout(name: str, format_name: str, inputs: int) -> Layout:
    if name not in LAYOUTS:
        raise InputError(f"layout '{name}'; allowed: {', '.join(LAYOUTS)}")
    if format_name not in LAYOUTS[name].formats:
        allowed = ", ".join(LAYOUTS[name].formats)
        raise InputError(f"layout '{name}' has no '{format_name}'; allowed: {allowed}")
    group = WEIGHT_FORMATS[format_name].group
    if inputs % group:
        raise InputError(f"layout '{name}': {inputs} inputs; allowed: a multiple of {group}")
    return LAYOUTS[name]


def _pairs(slots: np.ndarray) -> np.ndarray:
    """Return two codes of 4 bits in each byte, the first one low."""
    return slots[..., ::2] | slots[..., 1::2] << 4


def _unpaired(data: np.ndarray) -> np.ndarray:
    return np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:-1], -1)


def _bytes_of(data: bytes, what: str, count: int) -> np.ndarray:
    if len(data) != count:
        raise InputError(f"{len(data)} bytes of {what}; allowed: {count}")
    return np.frombuffer(data, np.uint8)


def _write_rows(weight: QuantizedWeight) -> Stored:
    codes = _pairs(weight.slots) if weight.row.bits == 4 else weight.slots
    factor = 1.0 if weight.factor is None else float(weight.factor[0])
    return Stored(codes.tobytes(), weight.part("scale").T.tobytes(), factor)


def _read_rows(stored: Stored, format_name: str, out: int, inputs: int) -> QuantizedWeight:
    weight = empty(format_name, out, inputs)
    bits = weight.row.bits
    codes = _bytes_of(stored.codes, "codes", out * inputs * bits // 8).reshape(out, -1)
    scales = _bytes_of(stored.scales, "scales", out * inputs // weight.row.group)
    weight.slots[:] = _unpaired(codes) if bits == 4 else codes
    weight.part("scale")[:] = scales.reshape(out, -1).T
    if weight.factor is None:
        return weight
    return replace(weight, factor=np.array([stored.factor], np.float32))


def _tile_places(out: int, count: int) -> tuple[np.ndarray, int]:
    """Return the byte of each scale ``(out, count)``, and how many bytes all tiles have."""
    across = blocks(count, TILE_BLOCKS)
    row, block = np.indices((out, count))
    tile = row // TILE_ROWS * across + block // TILE_BLOCKS
    inside = row % TILE_ROWS
    place = 16 * (inside % TILE_SUBROWS) + 4 * (inside // TILE_SUBROWS) + block % TILE_BLOCKS
    size = TILE_ROWS * TILE_BLOCKS
    return tile * size + place, blocks(out, TILE_ROWS) * across * size


def _write_cublas(weight: QuantizedWeight) -> Stored:
    scales = weight.part("scale").T
    places, size = _tile_places(*scales.shape)
    tiles = np.zeros(size, np.uint8)
    tiles[places] = scales
    return replace(_write_rows(weight), scales=tiles.tobytes())


def _read_cublas(stored: Stored, format_name: str, out: int, inputs: int) -> QuantizedWeight:
    places, size = _tile_places(out, inputs // WEIGHT_FORMATS[format_name].group)
    scales = _bytes_of(stored.scales, "tiles of scales", size)[places]
    return _read_rows(replace(stored, scales=scales.tobytes()), format_name, out, inputs)


def _write_q4_0(weight: QuantizedWeight) -> Stored:
    out, inputs = weight.slots.shape
    halves = ((weight.slots + OFFSET) & 15).reshape(out, -1, 2, weight.row.group // 2)
    scales = np.ascontiguousarray(weight.part("scale").T).view(np.uint8)
    scales = scales.reshape(out, inputs // weight.row.group, 2)
    data = np.concatenate([scales, halves[:, :, 0] | halves[:, :, 1] << 4], axis=-1)
    return Stored(data.tobytes())


def _read_q4_0(stored: Stored, format_name: str, out: int, inputs: int) -> QuantizedWeight:
    weight = empty(format_name, out, inputs)
    group = weight.row.group
    size = 2 + group // 2
    data = _bytes_of(stored.codes, "blocks", out * inputs // group * size)
    data = data.reshape(out, inputs // group, size)
    codes = np.concatenate([data[..., 2:] & 15, data[..., 2:] >> 4], axis=-1)
    weight.slots[:] = ((codes - OFFSET) & 15).reshape(out, inputs)
    weight.part("scale")[:] = np.ascontiguousarray(data[..., :2]).view("<f2")[..., 0].T
    return weight


BLOCK_SCALED = ("mxfp4", "nvfp4", "mxint8")
LAYOUTS = {
    "rows": Layout(BLOCK_SCALED, _write_rows, _read_rows),
    "cublas": Layout(BLOCK_SCALED, _write_cublas, _read_cublas),
    "gguf": Layout(("int4-g32",), _write_q4_0, _read_q4_0),
}
"""By name, how others hold a matrix."""
