"""Random scales of output channels, as a format stores them."""

import numpy as np

from microscopiq.target.weight import QuantizedWeight


def fill_scales(weight: QuantizedWeight, rng: np.random.Generator, low: float = 0.001) -> None:
    """Give a weight any scales from ``low`` to 4, and any factor."""
    kind = weight.row.column_scale
    weight.scale[:] = kind.encode(rng.uniform(low, 4, weight.scale.shape).astype(np.float32))
    if weight.factor is not None:
        weight.factor[:] = rng.uniform(0.01, 2)
