"""How many array rows replayed outliers take: the rows behind those of a panel (`preload.replay`).

Each strip of columns lists its own inputs: one entry for each input with outliers in the strip and
each of their exponents, as many rows as an outlier has digits.
"""

import functools
import struct

import numpy as np

from .formats import BY_CODE, MICRO_BLOCK, OUTLIER_EXPONENT, WeightFormat
from .segment import panels
from .weight import blocks

HEADER_BYTES = 4
NONE = -1
"""Exponent of a micro-block without outliers: those of outliers are at least 0."""


def outlier_digits(row: WeightFormat) -> int:
    """Return the digits of a slot's width that any outlier has: in two's complement."""
    half, most = row.mantissa_bits // 2, row.q_max
    largest = 1 << row.guard_bits
    largest += (most << row.guard_bits - half) + (most << row.guard_bits - 2 * half)
    return blocks(largest.bit_length() + 1, row.bits)


@functools.lru_cache(maxsize=4)
def unfolded_rows(segment: bytes, columns: int, strip: int) -> np.ndarray:
    """Return the rows of each unfolded panel of a segment, templates of a shape-only one.

    Parameters
    ----------
    columns : int
        Columns that a plane holds.
    strip : int
        Columns that list inputs of their own (`replay_columns`).

    Returns
    -------
    rows : numpy.ndarray
        int64 ``(panels, planes along the columns)``; 0 where a panel ends before.
    """
    found = [_panel_rows(panel, columns, strip) for panel in panels(segment)]
    rows = np.zeros((len(found), max(map(len, found))), np.int64)
    for number, counts in enumerate(found):
        rows[number, : len(counts)] = counts
    return rows


def _panel_rows(panel: bytes, columns: int, strip: int) -> list[int]:
    code, rows, cols, _ = struct.unpack_from("<BBBb", panel)
    row, rows, cols = BY_CODE[code], rows + 1, cols + 1
    exponents = _exponents(panel, row, rows, cols)
    digits, found = outlier_digits(row), []
    for first in range(0, cols, columns):
        lengths = [0]
        for column in range(first, min(first + columns, cols), strip):
            end = min(column + strip, first + columns, cols)
            part = np.sort(exponents[:, column // MICRO_BLOCK : blocks(end, MICRO_BLOCK)])
            new = np.diff(part, axis=1, prepend=NONE) != 0
            lengths.append(int((new & (part != NONE)).sum()))
        found.append(rows + digits * max(lengths))
    return found


def _exponents(panel: bytes, row: WeightFormat, rows: int, cols: int) -> np.ndarray:
    """Return ``E - Isf`` of each micro-block, ``(rows, micro-blocks)``, `NONE` without outliers."""
    micro, (_, micro_bits) = blocks(cols, MICRO_BLOCK), OUTLIER_EXPONENT[row.bits]
    identifier, place = blocks(micro, 8), HEADER_BYTES + rows * blocks(cols, 8) * row.bits
    found = np.full((rows, micro), NONE)
    for k in range(rows):
        flags = int.from_bytes(panel[place + 1 : place + 1 + identifier], "little")
        place += 1 + identifier
        while flags:
            scale, permutation = panel[place], panel[place + 1 : place + 4]
            if _has_pair(int.from_bytes(permutation, "little")):
                signed = scale - (scale >> 7 << 8)
                relative = (signed >> micro_bits) + (scale & (1 << micro_bits) - 1)
                found[k, (flags & -flags).bit_length() - 1] = relative
            place += 4
            flags &= flags - 1
    return found


def _has_pair(permutation: int) -> bool:
    while permutation:
        if permutation >> 3 & 7 != permutation & 7:
            return True
        permutation >>= 6
    return False
