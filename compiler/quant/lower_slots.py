"""Which inliers give up their slots to the Lower halves of outliers.

Both halves of an outlier meet in ReCoN, so the choice is one of saliency and of routing: the least
saliency among the sets of slots that `target/routing.py` can route in one pass.
"""

import numpy as np

from ...target.formats import MAX_OUTLIERS
from ...target.routing import one_pass_placements


def choose_lower_slots(outlier: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Return a pairing of one pass for each micro-block, with the least total saliency.

    Parameters
    ----------
    outlier : numpy.ndarray
        bool ``(micro_blocks, 8)``: 1 to 4 outliers in each.
    saliency : numpy.ndarray
        float ``(micro_blocks, 8)``: what pruning costs; infinite where there is no slot.

    Returns
    -------
    numpy.ndarray
        int8 ``(micro_blocks, 4, 2)``: Upper and Lower columns, Uppers ascending, -1 where unused.
        Of equal totals the lexically first set is taken.
    """
    pairs = np.empty((len(outlier), MAX_OUTLIERS, 2), np.int8)
    masks = np.packbits(outlier, axis=1, bitorder="little")[:, 0]
    for mask in np.unique(masks):
        members = np.flatnonzero(masks == mask)
        placements = one_pass_placements(int(mask))
        costs = saliency[members]
        total = np.zeros((len(members), len(placements)))
        # Slot by slot: a matrix product may add in any order, and ties must not depend on it.
        for entry in range(int((placements[0, :, 0] >= 0).sum())):
            total += costs[:, placements[:, entry, 1]]
        pairs[members] = placements[np.argmin(total, axis=1)]
    return pairs
