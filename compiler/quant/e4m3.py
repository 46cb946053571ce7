"""FP8 with 4 bits of exponent and 3 of mantissa (OCP E4M3): largest 448, no infinities."""

import numpy as np

E4M3_MAX = 448.0
MANTISSA_BITS, EXPONENT_MIN = 3, -6


def to_e4m3(values: np.ndarray) -> np.ndarray:
    """Return float32 values rounded to the nearest of E4M3, half to even; beyond 448 saturated.

    Parameters
    ----------
    values : numpy.ndarray
        Finite, float32.
    """
    values = np.clip(values, -E4M3_MAX, E4M3_MAX)
    exponent = np.maximum(np.frexp(values)[1] - 1, EXPONENT_MIN) - MANTISSA_BITS
    return np.ldexp(np.rint(np.ldexp(values, -exponent)), exponent)
