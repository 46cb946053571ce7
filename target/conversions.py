"""What transfers make of elements in DRAM that aren't words of 32 bits.

A load widens each element to a word of int32, a store narrows each word; the bytes that cross the
channel are the elements'. Words and bytes that stay what they are need none (code 0).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Conversion:
    """One element type of DRAM.

    Attributes
    ----------
    code : int
        In instructions.
    bytes : int
        Of an element.
    meaning : str
        What a load and a store do.
    """

    name: str
    code: int
    bytes: int
    meaning: str


_ROWS = (
    ("int8", 1, "sign-extended; stores keep the lowest 8 bits"),
    ("uint8", 1, "zero-extended, also bool's bytes of 0 and 1; stores keep the lowest 8 bits"),
    ("int16", 2, "sign-extended; stores keep the lowest 16 bits"),
    ("int64", 8, "must fit 32 bits, else the run ends; stores extend the sign"),
)
CONVERSIONS = {row[0]: Conversion(row[0], code, *row[1:]) for code, row in enumerate(_ROWS, 1)}
"""By name of the element type."""
