"""Random weights in FineQ's clusters: any pattern, and any code that the pattern has bits for."""

import numpy as np

from microscopiq.target.weight import QuantizedWeight


def fill_clusters(weight: QuantizedWeight, rng: np.random.Generator, wide: bool = True) -> None:
    """Overwrite codes and patterns; without `wide` no weight is beyond -1 and 1."""
    out, inputs = weight.slots.shape
    k, group = np.arange(inputs), weight.row.group
    # Pairs of clusters start anew in each group: of 128 inputs 21 of 6 weights and one of 2.
    pair, place = k // group * -(-group // 6) + k % group // 6, k % group % 3 + 1
    weight.pattern[:] = rng.integers(0, 4 if wide else 1, weight.pattern.shape)
    pattern = weight.pattern[:, pair]
    codes = rng.integers(0, 8, (out, inputs))
    codes = np.where(pattern == 0, codes & 0b101, codes)
    weight.slots[:] = np.where(pattern == place, 0, codes)
    if not wide:
        weight.slots[:] &= 0b101
