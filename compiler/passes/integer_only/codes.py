"""Values as integers with a scale, and scales as dyadic numbers."""

import math
from dataclasses import dataclass

import numpy as np
from tvm import relax


@dataclass(frozen=True)
class Codes:
    """A value of the model: ``codes * scale``.

    Attributes
    ----------
    codes : relax.Expr
        int8 or int32.
    scale : numpy.ndarray
        float64, of a shape that broadcasts with the codes; one for all has no axes.
    """

    codes: relax.Expr
    scale: np.ndarray

    @property
    def uniform(self) -> bool:
        """One scale for all."""
        return self.scale.ndim == 0


def dyadic_number(ratio: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return int32 factors and shifts of ratios: ``factor / 2**(31 + shift)`` (HAWQ-V3).

    Raises
    ------
    ValueError
        For a ratio of 2**30 and more.
    """
    mantissa, exponent = np.frexp(np.asarray(ratio, np.float64))
    exponent = exponent.astype(np.int64)
    # Below 2**-31 bits of the factor go instead.
    mantissa = np.ldexp(mantissa, np.minimum(exponent + 31, 0))
    shift = np.minimum(-exponent, 31)
    factor = np.rint(mantissa * 2.0**31).astype(np.int64)
    over = np.abs(factor) == 1 << 31
    factor, shift = np.where(over, factor // 2, factor), np.where(over, shift - 1, shift)
    if (shift < -30).any():
        raise ValueError(f"a ratio of {np.abs(ratio).max():g}; allowed: below 2**30")
    return factor.astype(np.int32), shift.astype(np.int32)


def step_for(largest: float, limit: int) -> float:
    """Return the scale with which `limit` stands for the largest magnitude."""
    return largest / limit if largest > 0 and math.isfinite(largest) else 1.0 / limit
