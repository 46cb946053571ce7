"""compiler/quant/lower_slots.py against a search over all slots and pairings."""

import itertools

import numpy as np
import pytest

from microscopiq.compiler.quant.lower_slots import choose_lower_slots
from microscopiq.target.routing import best_pairing, passes

MASKS = [mask for mask in range(1, 256) if mask.bit_count() <= 4]


def least_total(uppers: list[int], saliency: np.ndarray) -> float:
    """Return the least saliency of any slots that route in one pass."""
    free = [c for c in range(8) if c not in uppers]
    return min(
        saliency[list(slots)].sum()
        for slots in itertools.combinations(free, len(uppers))
        if passes(best_pairing(uppers, slots)) == 1
    )


@pytest.mark.parametrize("width", range(2, 9))
def test_least_saliency_of_one_pass(width):
    masks = [m for m in MASKS if not m >> width and m.bit_count() <= width // 2]
    outlier = np.array(masks)[:, None] >> np.arange(8) & 1 == 1
    saliency = np.random.default_rng(width).random(outlier.shape) ** 4
    saliency[:, width:] = np.inf
    order = np.random.default_rng(1).permutation(len(masks))
    pairs = choose_lower_slots(outlier[order], saliency[order])
    assert pairs.dtype == np.int8 and (passes(pairs) == 1).all()
    for number, mask in enumerate(order):
        used = pairs[number][pairs[number, :, 0] >= 0]
        assert used[:, 0].tolist() == np.flatnonzero(outlier[mask]).tolist()
        assert used[:, 1].max() < width
        total = saliency[mask, used[:, 1]].sum()
        assert total == pytest.approx(least_total(used[:, 0].tolist(), saliency[mask]), rel=1e-12)


def test_the_nearest_slot_of_equal_ones_is_the_first():
    outlier = np.arange(8)[None] == 2
    pairs = choose_lower_slots(outlier, np.ones((1, 8)))
    assert pairs[0].tolist() == [[2, 0], [-1, -1], [-1, -1], [-1, -1]]
    # Column 7 is 101b away: the last resort of the saliency alone, never of the network.
    saliency = np.array([[5, 4, 9, 3, 6, 7, 8, 0.0]])
    assert choose_lower_slots(outlier, saliency)[0, 0].tolist() == [2, 3]


def test_no_micro_blocks():
    assert choose_lower_slots(np.zeros((0, 8), bool), np.zeros((0, 8))).shape == (0, 4, 2)
