"""Weights that make good what quantized layers before a layer changed.

A layer's inputs X in the quantized model aren't the inputs S of the source's. What comes nearest
to S W^T is X W'^T with ``W' = W + W (S - X)^T X (X^T X)^-1``, and that is what is quantized instead
of W (GPTAQ, arXiv 2504.02692, has the same aim).
"""

import numpy as np
import scipy  # as in `compensation`

from .damping import UNSEEN
from .statistics import Statistics, power

DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Parts of the mean diagonal to choose from, besides no change at all."""
PROBE = 256
"""Output channels that the choice is made by."""


def toward_source(weights: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Return ``(in, out)`` to quantize instead of `weights`, damped as held-out rows say."""
    if statistics.drift is None:
        return weights
    mean = np.float32(np.diagonal(statistics.hessian).mean(dtype=np.float64))
    if mean == 0:
        return weights
    pull = statistics.drift @ (weights / mean)
    if statistics.source is None:
        factor = _factor(statistics.hessian / mean, UNSEEN)
        return weights if factor is None else weights + scipy.linalg.cho_solve(factor, pull)
    probe = np.s_[:, :: -(-weights.shape[1] // PROBE)]
    wanted = statistics.source @ weights[probe]
    least = power(statistics.held_out @ weights[probe] - wanted)
    chosen = None
    for damping in DAMPINGS:
        factor = _factor(statistics.hessian / mean, damping)
        if factor is None:
            continue
        change = scipy.linalg.cho_solve(factor, pull[probe], check_finite=False)
        lost = power(statistics.held_out @ (weights[probe] + change) - wanted)
        if lost < least:
            least, chosen = lost, factor
    return weights if chosen is None else weights + scipy.linalg.cho_solve(chosen, pull)


def _factor(hessian: np.ndarray, damping: float):
    """Return the Cholesky factor of a damped matrix, None if float32 has none."""
    hessian[np.diag_indices_from(hessian)] += np.float32(damping)
    try:
        return scipy.linalg.cho_factor(hessian, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
