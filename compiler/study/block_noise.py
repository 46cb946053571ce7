"""What blocks of weights lose when they are rounded: crest factors and noise, by formula.

The formulas are those of INT vs FP (arXiv 2510.25602, section 4), for a block whose largest value
fits: the noise of steps that are all as long, and of a minifloat's, which grow with the value down
to its subnormals. `study formats` shows them beside what rounding really loses.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ...target.codes import Codes, minifloat
from ...target.formats import WEIGHT_FORMATS, WeightFormat
from ...target.scales import ScaleKind

POWERS_OF_TWO = (ScaleKind.COLUMN_E8M0,)
"""Kinds of scales that are up to twice what would fit."""
MINIFLOATS = {
    (bits, minifloat(exponent, bits - 1 - exponent)): (exponent, bits - 1 - exponent)
    for bits in range(3, 9)
    for exponent in range(1, min(bits, 4))
}
"""Bits of exponent and mantissa by the width of a code and the table."""
Noise = Callable[[np.ndarray], np.ndarray]


def blocks_of(matrix: np.ndarray, group: int) -> Iterator[np.ndarray]:
    """Yield float64 ``(blocks, length)`` of a matrix ``(out, in)``, those that aren't all zero."""
    for start in range(0, matrix.shape[1], group):
        block = matrix[:, start : start + group].astype(np.float64)
        block = block[(block != 0).any(axis=1)]
        if len(block):
            yield block


def crest_factors(matrix: np.ndarray, group: int) -> np.ndarray:
    """Return the largest magnitude over the root mean square of each block of inputs."""
    found = [_crest(block) for block in blocks_of(matrix, group)]
    return np.concatenate(found) if found else np.zeros(0)


def formula_of(row: WeightFormat) -> Noise | None:
    """Return what gives the relative noise of blocks, None where the paper has no formula."""
    if row.column_scale is None:
        return None
    if row.codes is Codes.TWOS_COMPLEMENT:
        return lambda block: _integer_noise(block, row)
    kind = MINIFLOATS.get((row.bits, row.table)) if row.table else None
    return (lambda block: _minifloat_noise(block, row, *kind)) if kind else None


def expected_db(matrix: np.ndarray, row: WeightFormat) -> float | None:
    """Return the signal to noise ratio of a matrix ``(out, in)`` that the formula expects."""
    noise = formula_of(row)
    if noise is None:
        return None
    lost = sum(
        float((noise(block) * np.square(block).sum(axis=1)).sum())
        for block in blocks_of(matrix, row.group)
    )
    power = float(np.square(matrix, dtype=np.float64).sum())
    return 10 * np.log10(power / lost) if lost else float("inf")


def _fit(block: np.ndarray, row: WeightFormat) -> tuple[np.ndarray, np.ndarray]:
    """Return each block's scale in elements, and how much longer it is than what would fit."""
    largest = row.q_max * 2.0**-row.fraction_bits
    fits = np.abs(block).max(axis=1) / largest
    if row.scale not in POWERS_OF_TWO:
        return fits, np.ones(len(fits))
    scale = 2.0 ** np.ceil(np.log2(fits))
    return scale, scale / fits


def _crest(block: np.ndarray) -> np.ndarray:
    return np.abs(block).max(axis=1) / np.sqrt(np.square(block).mean(axis=1))


def _integer_noise(block: np.ndarray, row: WeightFormat) -> np.ndarray:
    """``4.78 + 6.02 b - 20 log10(rho kappa)`` dB; where a scale fits, the largest is exact.

    The paper's 4.78 + 6.02 b takes 2^(b-1) for the largest code; this is the largest code's own,
    1.2 dB less at 4 bits.
    """
    _, rho = _fit(block, row)
    noise = np.square(rho * _crest(block) / row.q_max) / 12
    length = block.shape[1]
    return noise if row.scale in POWERS_OF_TWO else noise * (length - 1) / length


def _minifloat_noise(
    block: np.ndarray, row: WeightFormat, exponent_bits: int, mantissa_bits: int
) -> np.ndarray:
    """``alpha w_norm + beta (rho kappa)^2 p_sub``: a share of what is normal, a step below it.

    Where a scale fits, the largest is exact, and has no part in what normal values lose.
    """
    scale, rho = _fit(block, row)
    bias = (1 << (exponent_bits - 1)) - 1
    largest = row.q_max * 2.0**-row.fraction_bits
    magnitude = np.abs(block) / scale[:, None]
    normal = magnitude >= 2.0 ** (1 - bias)
    power = np.square(block)
    share = (power * normal).sum(axis=1) / power.sum(axis=1)
    if row.scale not in POWERS_OF_TWO:
        share = share - power.max(axis=1) / power.sum(axis=1)
    alpha = 1 / (24 * 4.0**mantissa_bits)
    beta = 4.0 ** (1 - bias - mantissa_bits) / (12 * largest**2)
    below = 1 - normal.mean(axis=1)
    return alpha * share + beta * np.square(rho * _crest(block)) * below


FORMULAS = tuple(name for name, row in WEIGHT_FORMATS.items() if formula_of(row))
"""Formats that the paper's formulas speak of."""
