"""What stands before the panels of a weight segment, and segments of weights that nobody has.

A packed segment (`target.packing.pack`) starts with its directory: u32 panel count, then count + 1
u32 offsets. A *shape-only* segment has what a timing-only run needs, of any number of panels in
little memory: each panel is like one of a few templates, whose bytes are there.

====================  =====================================================================
bytes                 meaning
====================  =====================================================================
4                     panel count, with the bit `SHAPE_ONLY`
4                     template count
4 * (templates + 1)   where each template starts, and the end
2 * panels            template of each panel
...                   the templates, packed panels
====================  =====================================================================
"""

import struct
from itertools import pairwise

import numpy as np

from .errors import InputError, IsaError

SHAPE_ONLY = 1 << 31
"""Bit of the panel count that marks a shape-only segment."""


def is_shape_only(segment: bytes) -> bool:
    """Tell whether a segment has templates instead of the weights."""
    return len(segment) >= 4 and bool(struct.unpack_from("<I", segment)[0] & SHAPE_ONLY)


def check_segment(segment: bytes) -> None:
    """Refuse a segment whose directory doesn't fit it; the C++ core has the same rules.

    Raises
    ------
    IsaError
        For offsets that go back or past the end, bytes before the first or after the last panel,
        a directory that is cut, a template that isn't there.
    """
    if not segment:
        return
    length, words = len(segment), np.frombuffer(segment, "<u4", len(segment) // 4)
    first = 1 + is_shape_only(segment)
    if len(words) < first:
        raise IsaError(f"weight segment of {length} bytes; allowed: 0, or at least {4 * first}")
    count = int(words[0]) & ~SHAPE_ONLY
    kinds, numbers = (int(words[1]), 2 * count) if first == 2 else (count, 0)
    directory = 4 * (first + kinds + 1) + numbers
    if directory > length:
        raise IsaError(
            f"weight segment of {length} bytes: a directory of {count} panels needs {directory}"
        )
    offsets = words[first : first + kinds + 1].astype(np.int64)
    if offsets[0] != directory or offsets[-1] != length or (np.diff(offsets) < 0).any():
        raise IsaError(
            f"weight segment: offsets {offsets.tolist()[:8]}; allowed: ascending from "
            f"{directory} to {length}"
        )
    like = np.frombuffer(segment, "<u2", numbers // 2, 4 * (first + kinds + 1))
    if len(like) and like.max() >= kinds:
        raise IsaError(f"weight segment: a panel like template {like.max()}; it has {kinds}")


def panel_bytes(segment: bytes) -> np.ndarray:
    """Return the bytes of each panel of a segment, int64 ``(panels,)``."""
    (count,) = struct.unpack_from("<I", segment)
    if not count & SHAPE_ONLY:
        return np.diff(np.frombuffer(segment, "<u4", count + 1, 4).astype(np.int64))
    (templates,) = struct.unpack_from("<I", segment, 4)
    sizes = np.diff(np.frombuffer(segment, "<u4", templates + 1, 8).astype(np.int64))
    return sizes[np.frombuffer(segment, "<u2", count & ~SHAPE_ONLY, 8 + 4 * (templates + 1))]


def segment_of(panels: list[bytes]) -> bytes:
    """Return the packed segment of panels."""
    start = 4 * (len(panels) + 2)
    offsets = np.cumsum([start] + [len(panel) for panel in panels]).astype("<u4")
    return struct.pack("<I", len(panels)) + offsets.tobytes() + b"".join(panels)


def panels(segment: bytes) -> list[bytes]:
    """Return the panels of a packed segment, or the templates of a shape-only one."""
    (count,) = struct.unpack_from("<I", segment)
    first = 4
    if count & SHAPE_ONLY:
        (count,) = struct.unpack_from("<I", segment, 4)
        first = 8
    offsets = np.frombuffer(segment, "<u4", count + 1, first)
    return [segment[begin:end] for begin, end in pairwise(offsets)]


def shape_only(templates: list[bytes], like: np.ndarray) -> bytes:
    """Return the segment whose panel i is like template ``like[i]``.

    Raises
    ------
    InputError
        When a panel names no template, or one past what a u16 can name.
    """
    last = min(len(templates), 1 << 16) - 1
    if len(like) and not 0 <= like.min() <= like.max() <= last:
        raise InputError(
            f"panels like templates {like.min()} to {like.max()}; allowed: 0 to {last}"
        )
    start = 8 + 4 * (len(templates) + 1) + 2 * len(like)
    offsets = np.cumsum([start] + [len(template) for template in templates]).astype("<u4")
    head = struct.pack("<II", len(like) | SHAPE_ONLY, len(templates))
    return head + offsets.tobytes() + like.astype("<u2").tobytes() + b"".join(templates)
