"""The integer kernels in NumPy, from the formulas of their papers: the judge of `kernels`.

HAWQ-V3 (arXiv 2011.10680) scales by dyadic numbers; I-ViT (arXiv 2207.01405) has softmax, GELU and
layer norm without a floating-point number. Everything is int64 here, and every value that the
machine holds is checked to fit 32 bits.
"""

import numpy as np

MOST = (1 << 31) - 1
LONGEST_SHIFT = 31
STEPS = 10
"""Newton steps of the square root, from 2**16 on."""


def _fits(values: np.ndarray) -> np.ndarray:
    assert np.abs(values).max(initial=0) <= MOST, "32 bits don't hold it"
    return values


def dyadic(x: np.ndarray, factor: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return ``x * factor / 2**(31 + shift)``, rounded half up (HAWQ-V3, section 3.2)."""
    wide = x.astype(object) * np.asarray(factor).astype(object)
    total = 31 + np.asarray(shift).astype(object)
    return _fits(np.asarray((2 * wide + 2**total) // 2 ** (total + 1)).astype(np.int64))


def shift_exp(x: np.ndarray, unit: int, bits: int) -> np.ndarray:
    """Return e**(x / unit) in units of 2**-bits / unit, for x <= 0 (I-ViT, algorithm 1).

    I-ViT keeps all of its bits to the right of q and has no power below 2**-bits; here bits that a
    small power has no place for go, and what a mask leaves out is 0.

    Parameters
    ----------
    x : numpy.ndarray
        int64.
    unit : int
        1 over the scale of x; I-ViT's I0 is minus that.
    """
    p = np.maximum(x + (x >> 1) - (x >> 4), -LONGEST_SHIFT * unit)
    q = p // -unit
    r = p + q * unit
    return _fits(((r >> 1) + unit) << bits) >> q


def share(part: np.ndarray, whole: np.ndarray, bits: int) -> np.ndarray:
    """Return part / whole in units of 2**-(bits - 1), by a reciprocal (I-ViT, IntDiv)."""
    return _fits(part * (MOST // whole)) >> (32 - bits)


def shiftmax(x: np.ndarray, unit: int, bits: int) -> np.ndarray:
    """Return the softmax of rows in units of 1/128 (I-ViT, algorithm 1)."""
    e = shift_exp(x - x.max(-1, keepdims=True), unit, bits)
    return share(e, _fits(e.sum(-1, keepdims=True)), 8)


def shift_gate(x: np.ndarray, unit: int, bits: int) -> np.ndarray:
    """Return the sigmoid of x / unit in units of 2**-15, from two exponentials (I-ViT, eq. 17).

    They are taken below the larger of 0 and x, where I-ViT takes the largest of a row: so no
    element hangs on its neighbours.
    """
    top = np.maximum(x, 0)
    one, other = shift_exp(x - top, unit, bits), shift_exp(-top, unit, bits)
    return share(one, _fits(one + other), 16)


def root(x: np.ndarray) -> np.ndarray:
    """Return the whole part of a square root, or a little more of small ones (I-ViT, eq. 20)."""
    k = np.full_like(x, 1 << 16)
    for _ in range(STEPS):
        k = (k + x // k) >> 1
    return k


def norm(x: np.ndarray, epsilon: int, center: bool) -> np.ndarray:
    """Return rows over the root of their squares' sum, in units of 2**-30 (I-ViT, eq. 19)."""
    length = x.shape[-1]
    if center:
        x = x - (x.sum(-1, keepdims=True) + length // 2) // length
    square = _fits((x * x).sum(-1, keepdims=True) + epsilon)
    return _fits(x * (MOST // root(square))) >> 1
