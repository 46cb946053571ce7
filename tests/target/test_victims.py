"""target/victims.py: what every pair of codes means, and which inputs are a pair."""

import numpy as np
import pytest

from microscopiq.target.diagonal import block_diagonal
from microscopiq.target.errors import ConfigError
from microscopiq.target.formats import BESIDE_VICTIM, WEIGHT_FORMATS, Codes, WeightFormat
from microscopiq.target.victims import neighbours, pair_integers
from microscopiq.target.weight import empty, integers

OLIVE = WEIGHT_FORMATS["olive4"]


def expected(code: int, other: int) -> int:
    """OliVe: (2 + m) << (e + 2), 12 to 96, beside 1000b; INT4 beside any other code."""
    if code == 0b1000:
        return 0
    if other == 0b1000:
        magnitude = {1: 12, 2: 16, 3: 24, 4: 32, 5: 48, 6: 64, 7: 96}.get(code & 7, 0)
        return -magnitude if code & 8 else magnitude
    return code - 16 if code & 8 else code


def test_every_pair_of_codes():
    first, second = np.divmod(np.arange(256, dtype=np.uint8), 16)
    slots = np.stack([first, second], axis=1)
    found = pair_integers(slots)
    assert found.dtype == np.int32
    for (a, b), row in zip(slots.tolist(), found.tolist(), strict=True):
        assert row == [expected(a, b), expected(b, a)]
    assert np.abs(found).max() == OLIVE.largest == 96 == max(BESIDE_VICTIM)


def test_pairs_begin_at_even_inputs_and_the_last_of_an_odd_number_is_alone():
    slots = np.array([[1, 8, 7, 3, 8, 2, 8]], np.uint8)
    assert neighbours(slots).tolist() == [[8, 1, 3, 7, 2, 8, 0]]
    assert pair_integers(slots).tolist() == [[12, 0, 7, 3, 0, 16, 0]]
    assert pair_integers(slots[:, :1]).tolist() == [[1]]


def test_pairs_are_4_bits_in_even_groups():
    for change in ({"bits": 5}, {"group": 3}):
        row = {"bits": 4, "group": 128} | change
        message = f"pairs of {row['bits']} bits in groups of {row['group']}: allowed 4 bits, even"
        with pytest.raises(ConfigError, match=message):
            WeightFormat("odd", 99, codes=Codes.VICTIM_PAIRS, scale=OLIVE.scale, description="",
                         **row)  # fmt: skip


def test_blocks_along_a_diagonal_end_where_pairs_do():
    weights = [empty("olive4", 3, inputs) for inputs in (4, 5)]
    for weight in weights:
        weight.slots[:] = np.random.default_rng(0).integers(0, 16, weight.slots.shape)
    whole = block_diagonal([weights[0]] * 3)
    values, _ = integers(weights[0])
    np.testing.assert_array_equal(integers(whole)[0], np.kron(np.eye(3, dtype=np.int32), values))
    assert block_diagonal([weights[1]] * 3) is None
