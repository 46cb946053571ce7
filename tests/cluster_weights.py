"""Random weights in FineQ's clusters: any pattern, and any code that the pattern has bits for."""

import numpy as np

from microscopiq.target.packing import QuantizedWeight

PAIRS = 22
"""Pairs of clusters in 128 inputs: 21 of 6 weights and one of 2."""


def fill_clusters(weight: QuantizedWeight, rng: np.random.Generator, wide: bool = True) -> None:
    """Overwrite codes and patterns; without `wide` no weight is beyond -1 and 1."""
    out, inputs = weight.slots.shape
    k = np.arange(inputs)
    pair, place = k // 128 * PAIRS + k % 128 // 6, k % 128 % 3 + 1
    weight.pattern[:] = rng.integers(0, 4 if wide else 1, weight.pattern.shape)
    pattern = weight.pattern[:, pair]
    codes = rng.integers(0, 8, (out, inputs))
    codes = np.where(pattern == 0, codes & 0b101, codes)
    weight.slots[:] = np.where(pattern == place, 0, codes)
    if not wide:
        weight.slots[:] &= 0b101
