"""From a grid and, if there are any, statistics of the inputs to a quantized weight."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...target.errors import ConfigError
from ...target.formats import MACRO_BLOCK
from ...target.weight import QuantizedWeight
from .compensation import Order, TooLittleDamping, ordered, refine, sweep
from .damping import choose_damping
from .grids import Grid
from .host_formats import StudyWeight
from .statistics import Statistics, power
from .upstream import toward_source

PROBE = 2 * MACRO_BLOCK
"""Output channels that tell how much noise rounding adds to each input channel."""

MOST_PASSES = 16
PASSES_MACS = 100_000_000_000
"""Multiply-accumulates of passes over one matrix: a pass of 4096 x 4096 has 69e9, some 2 s."""
CONVERGED = 0.01
"""Part of the error that a pass has to gain for another one."""
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
    refinements : int or "converged"
        Passes over all channels after the first; ``"converged"``: until they gain little, at most
        `MOST_PASSES`, and of a large matrix those that `PASSES_MACS` allows.
    upstream : bool
        Make good, too, what quantized layers before this one changed.
    """

    damping: float | str = "held-out"
    refinements: int | str = "converged"
    upstream: bool = True

    def __post_init__(self):
        value = self.damping
        number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        if value != "held-out" and not number:
            raise ConfigError(
                f"damping = {self.damping!r}; allowed: a number above 0 or 'held-out'"
            )
        if not isinstance(self.upstream, bool):
            raise ConfigError(f"upstream = {self.upstream!r}; allowed: true, false")
        count = self.refinements
        if count != "converged" and not (isinstance(count, int) and 0 <= count <= 100):
            raise ConfigError(f"refinements = {count!r}; allowed: 0 to 100 or 'converged'")

    def passes(self, shape: tuple[int, int]) -> int:
        """Return how many passes a matrix ``(in, out)`` gets at most."""
        if isinstance(self.refinements, int):
            return self.refinements
        inputs, out = shape
        return int(np.clip(PASSES_MACS // (inputs * inputs * out), 1, MOST_PASSES))


def rounded(weight: np.ndarray, make: Make) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Return ``(out, in)`` rounded to the nearest values of a format."""
    weights = np.ascontiguousarray(weight.T)
    return _solve(weights, make, Order(np.arange(len(weights)), None), None)[:2]


def compensated(
    weight: np.ndarray, make: Make, statistics: Statistics, options: Compensation
) -> tuple[QuantizedWeight | StudyWeight, dict]:
    """Return ``(out, in)`` quantized for least error of its outputs, and counts.

    Where held-out rows say that rounding to nearest is better after all, that is returned.
    The counts have ``damping`` if errors were compensated; ``uncompensated`` is 1 where they could
    not be, because the Hessian has no factor under any damping but the infinite one.
    """
    statistics = statistics.at_rest()
    weights = np.ascontiguousarray(weight.T)
    if options.upstream:
        weights = toward_source(weights, statistics)
    nearest = Order(np.arange(len(weights)), None)
    if isinstance(options.damping, str):
        choice = choose_damping(statistics, _noise(weights[:, :PROBE], make))
        damping, order, doubtful = choice.damping, choice.order, choice.expected > DOUBTFUL
        if choice.none:
            found, counts, _ = _solve(weights, make, nearest, None)
            return found, counts | {"uncompensated": 1}
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
        for number in range(options.passes(weights.shape)):
            keep = number % 2 == 0
            values, gain = refine(weights, values, statistics.hessian, damping, grid, keep)
            if options.refinements == "converged" and abs(gain) < CONVERGED:
                break
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
