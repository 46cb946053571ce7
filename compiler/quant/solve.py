"""From a grid and, if there are any, statistics of the inputs to a quantized weight."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...target.errors import ConfigError
from ...target.formats import MACRO_BLOCK
from ...target.packing import QuantizedWeight
from .compensation import Order, TooLittleDamping, ordered, refine, sweep
from .damping import choose_damping
from .grids import Grid
from .statistics import Statistics, power
from .study import StudyWeight

PROBE = 2 * MACRO_BLOCK
"""Output channels that tell how much noise rounding adds to each input channel."""

DOUBTFUL = 0.7
"""Expected part of rounding to nearest's error from which on both are tried."""

Make = Callable[[np.ndarray], Grid]
"""Returns the grid of weights ``(in, out)``."""


@dataclass(frozen=True)
class Compensation:
    """How errors are made good by later input channels.

    Attributes
    ----------
    damping : float or "held-out"
        Part of the mean diagonal that is added to the Hessian's; ``"held-out"`` chooses it on
        rows held out, GPTQ's own is 0.01.
    refinements : int
        Passes over all channels after the first.
    """

    damping: float | str = "held-out"
    refinements: int = 1

    def __post_init__(self):
        number = isinstance(self.damping, int | float) and not isinstance(self.damping, bool)
        if self.damping != "held-out" and not (number and self.damping > 0):
            raise ConfigError(
                f"damping = {self.damping!r}; allowed: a number above 0 or 'held-out'"
            )
        if not (isinstance(self.refinements, int) and 0 <= self.refinements <= 100):
            raise ConfigError(f"refinements = {self.refinements!r}; allowed: 0 to 100")


def rounded(weight: np.ndarray, make: Make) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Return ``(out, in)`` rounded to the nearest values of a format."""
    weights = np.ascontiguousarray(weight.T)
    return _solve(weights, make, Order(np.arange(len(weights)), None), None)[:2]


def compensated(
    weight: np.ndarray, make: Make, statistics: Statistics, options: Compensation
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Return ``(out, in)`` quantized for least error of its outputs, and counts.

    Where held-out rows say that rounding to nearest is better after all, that is returned.
    The counts have ``damping`` if errors were compensated.
    """
    weights = np.ascontiguousarray(weight.T)
    nearest = Order(np.arange(len(weights)), None)
    if isinstance(options.damping, str):
        choice = choose_damping(statistics, _noise(weights[:, :PROBE], make))
        damping, order, doubtful = choice.damping, choice.order, choice.expected > DOUBTFUL
    else:
        damping, doubtful = options.damping, False
        try:
            order = ordered(statistics.hessian, options.damping)
        except TooLittleDamping:
            raise ConfigError(
                f"damping = {options.damping} is too little: the Hessian of {statistics.rows} "
                "rows has no factor with it; take more, or 'held-out'"
            ) from None
    if order.factor is None:
        return _solve(weights, make, nearest, None)[:2]

    def improve(values: np.ndarray, grid: Grid) -> np.ndarray:
        for _ in range(options.refinements):
            values = refine(weights, values, statistics.hessian, damping, grid)
        return values

    found, counts, values = _solve(weights, make, order, improve)
    if doubtful:
        plain, plain_counts, plain_values = _solve(weights, make, nearest, None)
        held_out = statistics.held_out
        if power(held_out @ (plain_values - weights)) < power(held_out @ (values - weights)):
            return plain, plain_counts
    return found, counts | {"damping": damping}


def _solve(
    weights, make: Make, order: Order, improve
) -> tuple[QuantizedWeight | StudyWeight, dict, np.ndarray]:
    """Quantize until the panels' sums fit the machine."""
    grid = make(weights)
    while True:
        values = sweep(weights, order, grid)
        if improve is not None:
            values = improve(values, grid)
        done = grid.finish(values)
        if done is not None:
            return *done, values


def _noise(weights: np.ndarray, make: Make) -> np.ndarray:
    """Return the mean squared error ``(in,)`` of rounding to nearest."""
    values = sweep(weights, Order(np.arange(len(weights)), None), make(weights))
    return np.square((values - weights).astype(np.float64)).mean(axis=1)
