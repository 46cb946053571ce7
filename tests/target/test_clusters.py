"""target/clusters.py: FineQ's 7 bytes, by hand, for every payload, and against a second reading."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microscopiq.target.clusters import (
    group_bytes,
    pack_clusters,
    panel_bytes,
    pattern_count,
    unpack_clusters,
)
from microscopiq.target.errors import InputError
from microscopiq.target.formats import CLUSTER_GROUP, GROUP_SIZE
from microscopiq.target.packing import bits_per_weight, pack, unpack
from microscopiq.target.weight import dequantize, empty, integers
from tests.cluster_weights import fill_clusters

LEVEL = {0b000: 0, 0b001: 1, 0b010: 2, 0b011: 3, 0b100: 0, 0b101: -1, 0b110: -2, 0b111: -3}
"""Values of the codes of 3 bits; a -0 is a 0."""


def test_sizes():
    """Clusters of 6 bits and 2 bits for each pair of them, in whole bytes a group."""
    assert group_bytes(CLUSTER_GROUP) == 7 and group_bytes(0) == 0
    assert [group_bytes(rows) for rows in (1, 3, 4, 6, 7, 8, 23)] == [1, 1, 2, 2, 3, 3, 7]
    # Five groups of 24 inputs, and 8 inputs: 3 clusters in 2 pairs, 22 bits.
    assert panel_bytes(GROUP_SIZE, 1) == 5 * 7 + 3 == 38
    assert panel_bytes(100, 3) == 3 * (4 * 7 + group_bytes(4))
    assert [pattern_count(n, 128) for n in (0, 1, 6, 7, 128, 129, 300)] == [0, 1, 1, 2, 22, 23, 52]


def test_bits_per_weight():
    """7 bytes of 24 weights are 2.333 bits each; the rest of a panel is counted below."""
    whole = pack([empty("fineq", 128, 120)])
    assert bits_per_weight(whole, 128 * 120) == 7 * 8 / 24 + 16 / 120 + 8 * (12 + 4) / (128 * 120)
    # 38 bytes of 128 weights are 2.375; an fp16 scale for each 128; directory and header.
    panel = pack([empty("fineq", 128, 128)])
    assert bits_per_weight(panel, 128 * 128) == 2.375 + 16 / 128 + 8 * (12 + 4) / (128 * 128)


def test_a_group_by_hand():
    """Pairs of patterns 0, 1, 2 and 3; in each cluster the same three weights as far as it can."""
    weights = [+1, 0, -1, -1, +1, +1]
    weights += [0, +3, -2, 0, -1, +2]
    weights += [+3, 0, -2, -1, 0, +2]
    weights += [+3, -2, 0, -1, +2, 0]
    code = {value: key for key, value in LEVEL.items() if key != 0b100}
    slots = np.array([[code[weight] for weight in weights]], np.uint8)
    data = pack_clusters(slots, np.array([[0, 1, 2, 3]], np.uint8))
    # First weight in the lowest bits. 2 bits: 01 is 1, 11 is -1; 3 bits: 011 is 3, 110 is -2.
    clusters = ["11" "00" "01", "01" "01" "11"]  # fmt: skip
    clusters += ["110" "011", "010" "101"] * 3  # fmt: skip
    payload = "".join(reversed(clusters))
    patterns = "11" "10" "01" "00"  # fmt: skip
    assert data == int(patterns + payload, 2).to_bytes(7, "little")
    assert data[6] == 0b11_10_01_00


def slow_weights(payload: int, pattern: int) -> list[int]:
    """Return the three weights of a cluster, read from the format's description."""
    if pattern == 0:
        pairs = [payload & 3, payload >> 2 & 3, payload >> 4]
        return [(pair & 1) * (-1 if pair & 2 else 1) for pair in pairs]
    wide = [LEVEL[payload & 7], LEVEL[payload >> 3]]
    wide.insert(pattern - 1, 0)
    return wide


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("pattern", range(4))
def test_every_payload_of_every_pattern_in_every_pair(pattern, place):
    """All 64 x 64 payloads of a pair, at each of a group's four places: bytes to weights."""
    payloads = np.array(list(itertools.product(range(64), range(64))), np.uint64)
    bits = payloads[:, 0] << np.uint64(12 * place) | payloads[:, 1] << np.uint64(12 * place + 6)
    bits |= np.uint64(pattern << (48 + 2 * place))
    data = bits.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :7].tobytes()
    slots, patterns = unpack_clusters(data, CLUSTER_GROUP, len(payloads))
    wanted = np.zeros((len(payloads), CLUSTER_GROUP), int)
    wanted[:, 6 * place : 6 * place + 6] = [
        slow_weights(int(a), pattern) + slow_weights(int(b), pattern) for a, b in payloads
    ]
    np.testing.assert_array_equal(np.vectorize(LEVEL.get)(slots), wanted)
    assert (patterns[:, place] == pattern).all() and not np.delete(patterns, place, axis=1).any()
    # A -0 keeps its sign bit: every byte comes back.
    assert pack_clusters(slots, patterns) == data


@given(st.integers(1, 128), st.integers(1, 5), st.integers(0, 1 << 32))
def test_unpack_inverts_pack(rows, cols, seed):
    weight = empty("fineq", cols, rows)
    fill_clusters(weight, np.random.default_rng(seed))
    data = pack_clusters(weight.slots, weight.pattern)
    assert len(data) == panel_bytes(rows, cols)
    slots, pattern = unpack_clusters(data, rows, cols)
    np.testing.assert_array_equal(slots, weight.slots)
    np.testing.assert_array_equal(pattern, weight.pattern)


def test_pairs_start_anew_in_each_group_of_128():
    """126 and 127 are a cluster of two; 128 is the first weight of the next pair."""
    weight = empty("fineq", 1, 134)
    weight.scale[:] = 1
    weight.pattern[0, [21, 22]] = 3, 1  # 21 pairs of 6 inputs come before the one of 2
    weight.slots[0, [126, 127, 129, 130]] = 0b011, 0b111, 0b110, 0b010
    values = integers(weight)[0][0]
    assert values[[126, 127, 128, 129, 130]].tolist() == [3, -3, 0, -2, 2]
    assert np.count_nonzero(values) == 4
    (read,) = unpack(pack([weight]), "fineq", 1, 134)
    np.testing.assert_array_equal(read.pattern, weight.pattern)
    np.testing.assert_array_equal(dequantize(read), dequantize(weight))


@pytest.mark.parametrize(
    ("pattern", "code", "problem"),
    [
        (0, 0b010, r"column 2, input 7: code 2 in pattern 0; pattern 0 holds -1 to 1"),
        (2, 0b001, r"column 2, input 7: code 1 in pattern 2; .* pattern i a zero at weight i"),
        (2, 0b100, r"code 4 in pattern 2"),
        (1, 0b1000, r"code 8 in pattern 1; .* -3 to 3 at the two others"),
        (4, 0, r"column 2, input 6: code 0 in pattern 4"),
    ],
)
def test_a_weight_without_bits_is_refused(pattern, code, problem):
    weight = empty("fineq", 4, 20)
    weight.pattern[2, 1], weight.slots[2, 7] = pattern, code
    with pytest.raises(InputError, match=problem):
        pack([weight])
