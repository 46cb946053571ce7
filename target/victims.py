"""OliVe's outlier-victim pairs: 4 bits a weight, and an outlier where its neighbour gives way.

Two neighbouring input channels of an output channel are a pair, from an even one on; the last of an
odd number is alone. Both codes are two's complement of 4 bits, -7 to 7. The code that is left, -8,
is a victim's: its weight is 0, and the other code of the pair is an outlier in abfloat E2M1, a sign
over two bits of exponent e and one of mantissa m: (2 + m) << (e + 2), which are 12, 16, 24, 32, 48,
64 and 96. e = m = 0 would be 8; it stands for 0. Every slot has 4 bits whatever it means, so that
memory stays aligned: rows of slots lie as those of `int4`.

After OliVe (ISCA 2023), with its bias for INT4. An array of its kind decodes at the edge and
multiplies integers of 4 bits, which it then shifts: an outlier is 2 or 3, and 2 to 5 places.
"""

import numpy as np

from .formats import BESIDE_VICTIM, VICTIM, WEIGHT_FORMATS

CODES = WEIGHT_FORMATS["olive4"].values


def pair_integers(slots: np.ndarray) -> np.ndarray:
    """Return int32 ``(out, in)``: what codes uint8 ``(out, in)`` mean beside their neighbours."""
    beside_victim = neighbours(slots) == VICTIM
    normal, outlier = (np.array(table, np.int32)[slots] for table in (CODES, BESIDE_VICTIM))
    return np.where((slots != VICTIM) & beside_victim, outlier, normal)


def neighbours(slots: np.ndarray) -> np.ndarray:
    """Return uint8 ``(out, in)``: the other code of each pair, 0 where there is none."""
    out, inputs = slots.shape
    padded = np.zeros((out, inputs + inputs % 2), np.uint8)
    padded[:, :inputs] = slots
    return padded.reshape(out, -1, 2)[..., ::-1].reshape(out, -1)[:, :inputs]
