"""Weights that nobody has: panels that cost what those of a real model would.

Cycles don't depend on values, but on which micro-blocks hold outliers: their metadata are loaded,
and their rows visit ReCoN. Temporal PEs take longer for weights beyond 1: clusters are those of
bell-shaped weights. Here each micro-block holds one by chance, independently. That is close
to a real encoder, all-MiniLM-L6-v2 on 128 tokens: with its share of flagged micro-blocks, all its
linear layers together take 2.3 % fewer cycles than with its weights in `ms4`, 5.3 % fewer in `ms2`
(rows of a 64-column tile with outliers: 26.0 % instead of 26.1 %). One layer alone can be off by
two thirds, because shares differ between layers.
"""

import numpy as np

from ...target.errors import ConfigError
from ...target.formats import MACRO_BLOCK, MICRO_BLOCK, WEIGHT_FORMATS
from ...target.packing import pack
from ...target.segment import panels, shape_only
from ...target.weight import QuantizedWeight, blocks, empty
from ..operators import FLAGGED_SHARE
from ..quant.methods.fineq import FineqOptions, fineq

TEMPLATES = 32
"""Panels with outliers that differ; a larger weight repeats them in random order."""
ROUTABLE = (1, 2, 3, 4, 6, 7)
"""Column distances (XOR) of two halves that meet in one pass of ReCoN: not 101b. Quantizers
choose such slots."""


def check_share(flagged_share: float) -> None:
    """Raise ConfigError for a share outside of 0 to 1."""
    if not 0 <= flagged_share <= 1:
        raise ConfigError(f"flagged share {flagged_share}; allowed: 0 to 1")


def stand_in_segment(op, flagged_share: float = FLAGGED_SHARE, seed: int = 0) -> bytes:
    """Return the shape-only segment of an operator's weights; empty when it has none.

    Parameters
    ----------
    flagged_share : float
        Share of micro-blocks that hold an outlier, 0 to 1; formats without outliers have none.
    """
    if not op.weight_format:
        return b""
    rng = np.random.default_rng(seed)
    rows = np.full(op.groups, op.group)
    rows[-1] = op.k - (op.groups - 1) * op.group
    cols = np.full(op.column_blocks, MACRO_BLOCK)
    cols[-1] = op.n - (op.column_blocks - 1) * MACRO_BLOCK
    # Panels lie by conv group, then by block of columns, then by group of inputs.
    shapes = [(int(c), int(r)) for _ in range(op.conv_groups) for c in cols for r in rows]
    first: dict[tuple[int, int], int] = {}
    templates: list[bytes] = []
    for shape in dict.fromkeys(shapes):
        first[shape] = len(templates)
        count = TEMPLATES if empty(op.weight_format, *shape).pairs is not None else 1
        weights = [_weight(op.weight_format, shape, flagged_share, rng) for _ in range(count)]
        templates += panels(pack(weights))
    kinds = len(templates) // len(first)
    like = np.array([first[shape] for shape in shapes]) + rng.integers(kinds, size=len(shapes))
    return shape_only(templates, like)


def _weight(name: str, shape: tuple[int, int], share: float, rng) -> QuantizedWeight:
    """Return zeros ``(out, in)`` with one outlier in a share of the micro-blocks."""
    if WEIGHT_FORMATS[name].cluster:
        return fineq(rng.standard_normal(shape, np.float32), name, None, FineqOptions())[0]
    weight = empty(name, *shape)
    if weight.pairs is None or weight.relative_exponent is None:
        return weight
    flagged = rng.random(weight.relative_exponent.shape) < share
    # A micro-block of one column has no slot for the other half.
    width = np.minimum(
        MICRO_BLOCK, shape[0] - MICRO_BLOCK * np.arange(blocks(shape[0], MICRO_BLOCK))
    )
    flagged &= (width > 1)[:, None]
    micro, k = np.nonzero(flagged)
    upper = rng.integers(width[micro])
    lower = upper ^ rng.choice(ROUTABLE, size=len(upper))
    # In a narrower last micro-block the neighbour is always there, or the one before it.
    lower = np.where(lower < width[micro], lower, np.where(upper ^ 1 < width[micro], upper ^ 1, 0))
    weight.pairs[micro, k, 0, 0], weight.pairs[micro, k, 0, 1] = upper, lower
    weight.relative_exponent[micro, k] = 0
    return weight
