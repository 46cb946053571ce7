"""Rules for factors of channels: how much of a value's range its readers' weights take over."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ....target.errors import InputError
from ...partition.graph import shape_of
from ...partition.layer import Layer, matrices
from ...quant.base import METHODS, quantize_weight, values_of
from ...quant.recipe import AWQ, DEFAULT_STRENGTH, SMOOTHQUANT, Recipe
from ...quant.statistics import Statistics
from .rescale import INPUT_AXES, Plan

FACTOR_RANGE = 2.0**10
"""Largest factor and inverse of the smallest: fp16 scales of weights must stay in their range."""
EXPONENTS = tuple(step / 20 for step in range(20))
"""Powers of the mean magnitudes that AWQ tries; 0 leaves all as it is."""


class Rule(Protocol):
    """What chooses the factors by which layers' inputs are divided."""

    def observe(self, layer: Layer, statistics: Sequence[Statistics]) -> None:
        """Keep what it needs of a layer from the statistics of its groups, which are then freed."""

    def factors(self, layers: list[Layer], plan: Plan) -> np.ndarray | None:
        """Return float64 ``(in,)`` for all layers that read one value, None to leave it."""


def make_rule(recipe: Recipe) -> Rule:
    """Return the rule of a recipe with a migration."""
    if recipe.migration == AWQ:
        return ActivationAware(recipe)
    chosen = DEFAULT_STRENGTH if recipe.migration == SMOOTHQUANT else recipe.migration
    assert isinstance(chosen, int | float)
    return SmoothQuant(chosen)


class SmoothQuant:
    """``max|X|^alpha / max|W|^(1 - alpha)`` (arXiv 2211.10438; MicroScopiQ A2)."""

    def __init__(self, alpha: float):
        self.alpha = alpha
        self.largest: dict[int, np.ndarray] = {}
        """float32 ``(in,)`` by the number of a layer: largest magnitude of each input channel."""

    def observe(self, layer: Layer, statistics: Sequence[Statistics]) -> None:
        rows = [group.largest for group in statistics]
        self.largest[layer.number] = per_channel(layer, rows, np.max)

    def factors(self, layers: list[Layer], plan: Plan) -> np.ndarray | None:
        numbers = [layer.number for layer in layers]
        known = [self.largest[number] for number in numbers if number in self.largest]
        if not known:
            return None
        for values in known:
            _check_magnitudes(layers[0], values)
        return smoothing(np.max(known, axis=0), plan.weights(layers), self.alpha)


class ActivationAware:
    """A power of ``mean|X|``, the one that leaves the readers' outputs least error when weights
    are rounded (AWQ, arXiv 2306.00978). Activations keep their formats while it's searched, and
    weights the rows' factors that they came with."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.mean: dict[int, np.ndarray] = {}
        self.lost: dict[int, np.ndarray] = {}

    def observe(self, layer: Layer, statistics: Sequence[Statistics]) -> None:
        if not all(group.rows for group in statistics) or layer.matrix.shape[1] == 1:
            return  # The one input of a matrix shares its scales with no other.
        mean = per_channel(layer, [group.magnitudes / group.rows for group in statistics], np.mean)
        self.mean[layer.number] = mean
        hessians = [group.hessian for group in statistics]
        self.lost[layer.number] = np.array([
            sum(
                _lost(matrix, factors, hessian, self._round(layer))
                for matrix, factors, hessian in zip(
                    matrices(layer), _rows(layer, powers(mean, exponent)), hessians, strict=True
                )
            )
            for exponent in EXPONENTS
        ])  # fmt: skip

    def factors(self, layers: list[Layer], _plan: Plan) -> np.ndarray | None:
        known = [layer.number for layer in layers if layer.number in self.mean]
        if not known:
            return None
        best = int(np.argmin(np.sum([self.lost[number] for number in known], axis=0)))
        if best == 0:
            return None
        return powers(np.mean([self.mean[number] for number in known], axis=0), EXPONENTS[best])

    def _round(self, layer: Layer) -> Callable[[np.ndarray], np.ndarray]:
        """Return what rounds a matrix as the recipe does without statistics."""
        method, format_name, options = self.recipe.for_layer(layer.name)
        if METHODS[method].needs_statistics:
            method, options = "rtn", {}

        def rounded(matrix: np.ndarray) -> np.ndarray:
            weight, _ = quantize_weight(method, matrix, format_name, layer.name, None, options)
            return values_of(weight)

        return rounded


def _lost(matrix: np.ndarray, factors: np.ndarray, hessian: np.ndarray, rounded) -> float:
    """Return the squared error of all outputs if a matrix is rounded times factors."""
    error = rounded(matrix * factors) / factors - matrix
    return float(np.einsum("ok,ok->", error @ hessian, error, dtype=np.float64))


def _rows(layer: Layer, factors: np.ndarray) -> np.ndarray:
    """Return float32 ``(groups, in)``: factors of channels as a layer's matrices have them."""
    groups, _, inputs = matrices(layer).shape
    taps = inputs * groups // len(factors)
    return np.repeat(factors, taps).reshape(groups, inputs).astype(np.float32)


def per_channel(layer: Layer, rows: list[np.ndarray], over_taps: Callable) -> np.ndarray:
    """Return ``(channels,)`` from what is known of each group's inputs."""
    taps = int(np.prod(layer.matrix.shape[2:]))
    return over_taps(np.concatenate(rows).reshape(-1, taps), axis=1)


def smoothing(activations: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """Return SmoothQuant's factors ``max|X|^alpha / max|W|^(1 - alpha)``, one per channel.

    Their geometric mean is 1, so that no layer changes its range as a whole; a channel whose
    inputs or weights are all zero has 1.

    Parameters
    ----------
    activations, weights : numpy.ndarray
        ``(in,)``: largest magnitudes.

    Returns
    -------
    numpy.ndarray
        float64 ``(in,)``, `FACTOR_RANGE` at most and its inverse at least.
    """
    factors = np.ones(len(weights))
    used = (activations > 0) & (weights > 0)
    if used.any():
        x, w = np.log(activations[used], dtype=np.float64), np.log(weights[used], dtype=np.float64)
        exponent = alpha * x - (1 - alpha) * w
        factors[used] = np.exp(exponent - exponent.mean())
    return _machine_numbers(factors)


def powers(mean: np.ndarray, exponent: float) -> np.ndarray:
    """Return AWQ's factors: a power of mean magnitudes, over the root of most times least.

    A channel that is always zero has 1. Bounded as `smoothing`.
    """
    factors = np.ones(len(mean))
    used = mean > 0
    if used.any():
        logs = exponent * np.log(mean[used], dtype=np.float64)
        factors[used] = np.exp(logs - (logs.max() + logs.min()) / 2)
    return _machine_numbers(factors)


def _machine_numbers(factors: np.ndarray) -> np.ndarray:
    # As the machine will have them: what divides and what multiplies must be the same numbers.
    return np.clip(factors, 1 / FACTOR_RANGE, FACTOR_RANGE).astype(np.float32).astype(np.float64)


def _check_magnitudes(layer: Layer, values: np.ndarray) -> None:
    channels = shape_of(layer.x)[INPUT_AXES[layer.kind]]
    if values.shape != (channels,):
        raise InputError(
            f"layer '{layer.name}': largest magnitudes of {values.shape} channels; ({channels},) "
            "are needed"
        )
    if not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(f"layer '{layer.name}': largest magnitudes must be finite and at least 0")
