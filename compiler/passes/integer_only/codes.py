"""Values as integers with a scale and a bound, and scales as dyadic numbers."""

import math
from dataclasses import dataclass

import numpy as np
from tvm import relax

from .reference import MOST


@dataclass(frozen=True)
class Codes:
    """A value of the model: ``codes * scale``.

    Attributes
    ----------
    codes : relax.Expr
        int8 or int32.
    scale : numpy.ndarray
        float64, of a shape that broadcasts with the codes; one for all has no axes.
    limit : int
        Largest magnitude that a code can have for whatever input: what proves that sums and
        products of codes stay within 32 bits.
    """

    codes: relax.Expr
    scale: np.ndarray
    limit: int

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


def saturating(
    ratio: np.ndarray, bound: int, limit: int, offset: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return ratios, and where codes have to be clipped first so that no product leaves 32 bits.

    Parameters
    ----------
    ratio : numpy.ndarray
        What codes are multiplied by.
    bound : int
        Largest magnitude of these codes.
    limit, offset : int
        Where their products are clipped, and the largest magnitude of what is added before that.

    Returns
    -------
    tuple of numpy.ndarray
        None as the second where nothing has to be clipped first.
    """
    size = np.abs(ratio)
    if bound * size.max(initial=0) + offset < MOST - 1:
        return ratio, None
    # A product of `reach` and all beyond give the same: those by more than that are cut to it.
    reach = limit + offset
    size = np.minimum(size, reach)
    most = np.ceil(reach / np.maximum(size, reach / MOST))
    return np.sign(ratio) * size, np.minimum(most, MOST).astype(np.int32)


def step_for(largest: float, limit: int) -> float:
    """Return the scale with which `limit` stands for the largest magnitude."""
    return largest / limit if largest > 0 and math.isfinite(largest) else 1.0 / limit
