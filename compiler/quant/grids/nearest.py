"""The nearest integer that a format has a code for."""

from collections.abc import Callable

import numpy as np

from ....target.formats import WeightFormat
from ....target.scales import nearest_places

Nearest = Callable[[np.ndarray], np.ndarray]
"""Takes float32 multiples of a scale and returns the codes' integers, float32 as well."""


def nearest_of(row: WeightFormat) -> Nearest:
    """Return what rounds to a format's integers, half to even: to even codes of a table."""
    if row.table is None:
        return lambda ratio: np.clip(np.rint(ratio), -row.q_max, row.q_max)
    # Of two codes with one integer, such as 0 and -0, the first.
    code = {value: n for n, value in reversed(list(enumerate(row.values)))}
    rising = sorted(code)
    values = np.array(rising, np.float32)
    ends = nearest_places(values, np.array([code[value] % 2 == 0 for value in rising[1:]]))
    # What lies midway between two integers is a multiple of a half: all numbers between two such
    # multiples have one nearest code, which a table tells in a quarter of the time of a search.
    beyond = row.q_max + 1
    nearest = values[np.searchsorted(ends, np.arange(-4 * beyond, 4 * beyond + 1) / 4)]

    def looked_up(ratio: np.ndarray) -> np.ndarray:
        halves = 2 * np.clip(ratio, -beyond, beyond)
        place = np.floor(halves)
        place += np.ceil(halves)
        place += 4 * beyond
        return nearest.take(place.astype(np.intp))

    return looked_up


def codes_of(row: WeightFormat) -> np.ndarray:
    """Return uint8 codes by integer, -127 to 127, and 0 for those that have none."""
    codes = np.zeros(255, np.uint8)
    for code, value in reversed(list(enumerate(row.values))):
        if abs(value) <= 127:
            codes[value + 127] = code
    return codes
