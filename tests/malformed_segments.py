"""Weight segments that a foreign file may hold: what is wrong, and how both loaders say so."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from microscopiq.target.packing import pack
from microscopiq.target.weight import empty


def int4_segment() -> bytearray:
    """Return a panel of 20 rows and 10 columns.

    Directory 3 * 4 bytes, header 4, 20 rows of 2 * 4 bytes of slots, 10 scales of 2: 12 + 184.
    """
    return bytearray(pack([empty("int4", 10, 20)]))


def ms4_segment() -> bytearray:
    """Return a panel of 8 x 8 with an outlier in input channel 7.

    Directory 3 * 4 bytes, header 4, 8 rows of 4 bytes of slots, 8 of Isf and identifier, 4 for the
    flagged micro-block: 12 + 56; row 7's identifier is byte 12 + 36 + 7 * 2 + 1.
    """
    weight = empty("ms4", 8, 8)
    weight.pairs[0, 7, 0], weight.relative_exponent[0, 7] = (1, 0), 3
    return bytearray(pack([weight]))


def fineq_segment() -> bytearray:
    """Return a panel of 6 x 8: 2 clusters and their pattern in 14 bits, 2 bytes, a column."""
    return bytearray(pack([empty("fineq", 8, 6)]))


def longer(segment: bytearray, count: int) -> None:
    """Give the last panel more bytes, or less."""
    segment[count + len(segment) :] = b"\0" * max(count, 0)
    struct.pack_into("<I", segment, 8, len(segment))


@dataclass(frozen=True)
class Malformed:
    """A change of a segment, and parts of both messages; the core runs what has none there."""

    segment: Callable[[], bytearray]
    change: Callable[[bytearray], object]
    python: str
    core: str = ""


MALFORMED = {
    "base exponent of int4": Malformed(
        int4_segment,
        lambda s: s.__setitem__(15, 1),
        "panel of 20x10 int4: base exponent 1; expected 0",
        r"weight panel 0 \(int4\): base exponent 1; allowed: 0",
    ),
    "base exponent of fineq": Malformed(
        fineq_segment,
        lambda s: s.__setitem__(15, 255),
        "panel of 6x8 fineq: base exponent -1; expected 0",
        r"weight panel 0 \(fineq\): base exponent -1; allowed: 0",
    ),
    # The machine computes with it: its weights are shifted by one more.
    "base exponent of ms4": Malformed(
        ms4_segment,
        lambda s: s.__setitem__(15, 255),
        "panel of 8x8 ms4: base exponent -1; expected 0",
    ),
    "no panel count": Malformed(
        int4_segment, lambda s: s.__delitem__(slice(3, None)), "segment of 3 bytes", "truncated"
    ),
    "cut directory": Malformed(
        int4_segment,
        lambda s: s.__delitem__(slice(8, None)),
        "segment of 8 bytes: a directory of 1 panels needs 12",
        "segment of 8 bytes: a directory of 1 panels needs 12",
    ),
    "bytes after the last panel": Malformed(
        int4_segment,
        lambda s: s.append(0),
        r"offsets \[12, 196\]; allowed: ascending from 12 to 197",
        "the last panel ends at 196; allowed: 197",
    ),
    "bytes before the first panel": Malformed(
        int4_segment,
        lambda s: (s.insert(12, 0), struct.pack_into("<II", s, 4, 13, 197)),
        r"offsets \[13, 197\]; allowed: ascending from 12 to 197",
        "the first panel starts at 13; allowed: 12",
    ),
    "half a header": Malformed(
        int4_segment,
        lambda s: (s.__delitem__(slice(15, None)), struct.pack_into("<I", s, 8, 15)),
        "panel has 3 bytes; its contents end at 4 or later",
        r"weight panel 0 \(0x0 of int4\) has 3 bytes; its contents end at 4",
    ),
    "scales without an end": Malformed(
        int4_segment,
        lambda s: longer(s, -1),
        "panel has 183 bytes; its contents end at 184 or later",
        r"weight panel 0 \(20x10 of int4\) has 183 bytes; its contents end at 184",
    ),
    "bytes after the scales": Malformed(
        int4_segment,
        lambda s: longer(s, 2),
        "panel of 20x10 int4 has 186 bytes; it ends at 184",
        r"weight panel 0 \(20x10 of int4\) has 186 bytes; its contents end at 184",
    ),
    # Header, 8 columns of 2 bytes, 8 scales of 2 bytes.
    "bytes after fineq's scales": Malformed(
        fineq_segment,
        lambda s: longer(s, 2),
        "panel of 6x8 fineq has 38 bytes; it ends at 36",
        r"weight panel 0 \(6x8 of fineq\) has 38 bytes; its contents end at 36",
    ),
    "slots without an end": Malformed(
        ms4_segment,
        lambda s: longer(s, -21),
        "panel has 35 bytes; its contents end at 36 or later",
        r"weight panel 0 \(8x8 of ms4\) has 35 bytes; its contents end at 36",
    ),
    "no metadata": Malformed(
        ms4_segment,
        lambda s: longer(s, -20),
        "panel has 36 bytes; its contents end at 38 or later",
        r"weight panel 0 \(8x8 of ms4\) has 36 bytes; its contents end at 38",
    ),
    "permutation list without an end": Malformed(
        ms4_segment,
        lambda s: longer(s, -1),
        "panel has 55 bytes; its contents end at 56 or later",
        r"weight panel 0 \(8x8 of ms4\) has 55 bytes; its contents end at 56",
    ),
    "bytes after the metadata": Malformed(
        ms4_segment,
        lambda s: longer(s, 1),
        "panel of 8x8 ms4 has 57 bytes; it ends at 56",
        r"weight panel 0 \(8x8 of ms4\) has 57 bytes; its contents end at 56",
    ),
    # The machine refuses it when it reads the row (tests/runtime/test_module.py).
    "identifier of a micro-block that isn't there": Malformed(
        ms4_segment,
        lambda s: s.__setitem__(12 + 36 + 7 * 2 + 1, 3),
        "input channel 7 flags micro-block 1 of 1",
    ),
}  # fmt: skip
