"""Polynomials of the vector functions: the coefficients of `target.coefficients`, found again.

Each row of `FITS` is a function, the weight of its error, and an interval. Lawson's reweighted
least squares find the polynomial of least largest error. Then the coefficients are rounded to fp32
one after the other, the lowest power first, and those that are left are found anew, so that they
make good what the rounding took. ``python -m benchmarks.minimax`` prints the largest error of each
fit and exits with 1 if the numbers aren't the committed ones.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpmath import mp, mpf

from microscopiq.target.coefficients import COEFFICIENTS, CONSTANTS, WORDS

mp.dps = 80
POINTS = 240
ROUNDS = 60


@dataclass(frozen=True)
class Fit:
    """One polynomial ``p(u(x))``.

    Attributes
    ----------
    value, weight : callable
        Of x: what p should be, and what its error is multiplied by to be the function's, relative.
    low, high : float
        Interval of x.
    terms : int
        Number of coefficients.
    variable : callable
        u of x; x itself by default.
    """

    value: Callable
    weight: Callable
    low: float
    high: float
    terms: int
    variable: Callable | None = None


def _points(fit: Fit) -> list:
    """Return points of the interval, denser at its ends, none of them 0."""
    middle, half = (mpf(fit.low) + fit.high) / 2, (mpf(fit.high) - fit.low) / 2
    angles = (mp.pi * (2 * i + 1) / (2 * POINTS) for i in range(POINTS))
    return [middle - half * mp.cos(angle) for angle in angles]


def _least_largest(matrix: np.ndarray, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return coefficients (columns of `matrix`) of least largest weighted error: Lawson's."""
    share = np.full(len(value), 1 / len(value))
    best, least = np.zeros(matrix.shape[1]), np.inf
    scale = np.abs(matrix).max(axis=0)
    for _ in range(ROUNDS):
        root = np.sqrt(share) * weight
        found = np.linalg.lstsq(matrix / scale * root[:, None], value * root, rcond=None)[0] / scale
        error = np.abs((matrix @ found - value) * weight)
        if error.max() < least:
            best, least = found, error.max()
        share *= error
        share /= share.sum()
    return best


def solve(fit: Fit) -> tuple[tuple[float, ...], float]:
    """Return the fp32 coefficients of a fit, and the largest weighted error."""
    x = _points(fit)
    u, left = (
        [fit.variable(point) if fit.variable else point for point in x],
        [fit.value(point) for point in x],
    )
    weight = np.array([float(abs(fit.weight(point))) for point in x])
    powers = np.array([[float(point**k) for k in range(fit.terms)] for point in u])
    found: list[float] = []
    for k in range(fit.terms):
        value = np.array([float(y) for y in left])
        coefficient = float(np.float32(_least_largest(powers[:, k:], value, weight)[0]))
        found.append(coefficient)
        left = [y - mpf(coefficient) * point**k for y, point in zip(left, u, strict=True)]
    return tuple(found), float(max(abs(float(y)) * w for y, w in zip(left, weight, strict=True)))


HALF_LN2 = 0.3468
QUARTER_PI = 0.7862
LN2 = mp.log(2)


def _square(x):
    return x * x


def _log2_rest(x):
    """Return what log2's series has behind its first two terms: s, s**3, for s = x."""
    return (mp.atanh(x) / x - 1 - x * x / 3) * 3 / x**4


FITS: dict[str, Fit] = {
    # exp(r) - 1 = r + r**2 p(r)
    "exp": Fit(
        lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / mp.expm1(r), -HALF_LN2, HALF_LN2, 6
    ),
    # 2**r = 1 + r ln 2 + r**2 p(r)
    "exp2": Fit(
        lambda r: (mp.expm1(r * LN2) - r * LN2) / r**2, lambda r: r**2 / 2**r, -0.5005, 0.5005, 6
    ),
    # log(1 + f) = f - f**2 / 2 + f**3 p(f)
    "log": Fit(
        lambda f: (mp.log1p(f) - f + f * f / 2) / f**3,
        lambda f: f**3 / mp.log1p(f),
        mp.sqrt(0.5) - 1,
        mp.sqrt(2) - 1,
        9,
    ),
    # log2((1 + s) / (1 - s)) = 2 / (3 ln 2) * s * (3 + s**2 + s**4 p(s**2))
    "log2": Fit(_log2_rest, lambda s: s**5 / mp.atanh(s) / 3, 1e-2, 0.1716, 3, _square),
    # tanh(x) = x + x**3 p(x**2)
    "tanh": Fit(
        lambda x: (mp.tanh(x) - x) / x**3, lambda x: x**3 / mp.tanh(x), 1e-3, 1, 8, _square
    ),
    # erf(x) = x + x p(x**2)
    "erf": Fit(lambda x: mp.erf(x) / x - 1, lambda x: x / mp.erf(x), 1e-3, 1, 7, _square),
    # erf(x) = 1 - exp(-p(x)) from 1 to 4
    "erf_tail": Fit(lambda x: -mp.log(mp.erfc(x)), mp.erfc, 1, 4, 8),
    # sin(r) = r + r**3 p(r**2)
    "sin": Fit(
        lambda r: (mp.sin(r) - r) / r**3, lambda r: r**3 / mp.sin(r), 1e-3, QUARTER_PI, 4, _square
    ),
    # cos(r) = 1 - r**2 / 2 + r**4 p(r**2)
    "cos": Fit(
        lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4,
        lambda r: r**4 / mp.cos(r),
        1e-2,
        QUARTER_PI,
        3,
        _square,
    ),
}


def _rounded(x, bits: int = 24) -> mpf:
    """Return x rounded to so many bits."""
    step = mp.mpf(2) ** (mp.floor(mp.log(abs(x), 2)) + 1 - bits)
    return mp.nint(x / step) * step


def constants() -> dict[str, float]:
    """Return the constants of the functions: fp32, some as a number of few bits and the rest."""
    log2_scale, log10_2 = 2 / (3 * LN2), mp.log10(2)
    found = {"log2_e": 1 / LN2, "ln2": LN2, "log2_scale": log2_scale, "log10_2": log10_2}
    found["pi_half"] = mp.pi / 2
    # Times an integer of 8 bits, and times numbers of 12 bits, the first part is exact.
    for name, rest, value, bits in (
        ("ln2_high", "ln2_low", LN2, 16),
        ("ln2_short", "ln2_rest", LN2, 12),
        ("log2_scale_high", "log2_scale_low", log2_scale, 12),
        ("log10_2_high", "log10_2_low", log10_2, 12),
        ("pi_half_high", "pi_half_low", mp.pi / 2, 12),
    ):
        found[name] = _rounded(value, bits)
        found[rest] = value - found[name]
    return {name: float(_rounded(value)) for name, value in found.items()}


def words() -> tuple[int, ...]:
    """Return 2/pi in words of 32 bits, a word of zeros in front."""
    whole = int(mp.floor(2 / mp.pi * mp.mpf(2) ** (32 * 7)))
    return (0, *(whole >> 32 * (6 - i) & 0xFFFFFFFF for i in range(7)))


def main() -> int:
    """Print the fits and compare all numbers."""
    same = constants() == CONSTANTS and words() == WORDS
    print(f"constants and words: {'as committed' if same else 'DIFFER'}")
    for name, fit in FITS.items():
        coefficients, error = solve(fit)
        equal = coefficients == COEFFICIENTS[name]
        print(f"{name:9} 2**{np.log2(error):.2f}  {'as committed' if equal else 'DIFFERS'}")
        same &= equal
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
