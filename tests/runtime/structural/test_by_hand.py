"""runtime/src/structural: small arrays, their sums and cycles counted by hand, and broken ones."""

import dataclasses

import numpy as np
import pytest

from microscopiq.target.errors import SimError
from microscopiq.target.weight import empty
from tests.runtime.structural.test_array import TINY, both, outliers, sums, tile

ONE = 1 << 4
"""An inlier of 1 in ms4: products carry the guard bits of an outlier's mantissa, twice 2 bits."""


def machine(rows, cols, **keys):
    return dataclasses.replace(TINY, array_rows=rows, array_cols=cols, **keys)


def assert_cycles(record, rows, m, further):
    """A row a cycle into the plane; then m rows, and the last sum so many cycles later."""
    assert record["units"]["wload"]["busy"] == rows
    array = record["units"]["array"]
    assert (array["busy"], array["fill_drain"]) == (m, further)


def test_two_by_two():
    # 1 x 5 + 2 x -6, 1 x 7 + 2 x 127; 3 x 5 - 4 x -6, 3 x 7 - 4 x 127.
    x, weight = np.array([[1, 2], [3, -4]], np.int8), np.array([[5, -6], [7, 127]], np.int8)
    found, record = both(machine(2, 2), x, rows=weight)
    np.testing.assert_array_equal(found, [[-7, 261], [39, -487]])
    assert_cycles(record, rows=2, m=2, further=2)
    # The extremes of 8 bits; again on top of them.
    x, weight = np.full((1, 2), -128, np.int8), np.array([[-128, -128], [127, -1]], np.int8)
    found, _ = both(machine(2, 2), x, rows=weight, accumulate=True)
    np.testing.assert_array_equal(found, [[2 * 2 * 128 * 128, -2 * 126 * 128]])


# Weights of 4 bits in PEs of 8: two beside each other; in PEs of 2: each in two of them.
@pytest.mark.parametrize(("cols", "pe_bits"), [(2, 8), (4, 4), (8, 2)])
def test_int4_in_all_pes(cols, pe_bits):
    weight = empty("int4", 4, 3)
    weight.scale[:] = 1
    values = np.array([[1, 2, 3], [-8, 7, 0], [-1, -1, -1], [5, -6, 4]])
    weight.slots[:] = values & 15
    x = np.array([[1, 10, 100], [-1, 0, 2]], np.int8)
    found, record = both(machine(3, cols, pe_weight_bits=pe_bits), x, weight)
    np.testing.assert_array_equal(found, [[321, 62, -111, 345], [5, 8, -1, 3]])
    assert_cycles(record, rows=3, m=2, further=2 + 3)


def test_rows_have_their_own_scales():
    # Isf of 1, 0, 3 and 0 over a base of 0: rows of 2, 1, 8 and 1.
    weight = outliers("ms4", [], rows=4)
    weight.isf[0] = (1, 0, 3, 0)
    weight.slots[1] |= 8  # a column of -1
    found, record = both(machine(4, 4), np.array([[1, 2, 3, 4]], np.int8), weight)
    total = 2 * 1 + 1 * 2 + 8 * 3 + 1 * 4
    np.testing.assert_array_equal(found[0], ONE * total * np.array([1, -1, 1, 1, 1, 1, 1, 1]))
    assert_cycles(record, rows=4, m=1, further=3 + 7)


# 1.01 10b is 22/16. Its sign is that of its Upper, and E - Isf shifts it further.
@pytest.mark.parametrize(("sign", "relative", "factor"), [(0, 0, 1), (8, 0, -1), (0, 2, 4)])
def test_an_outlier_on_four_by_eight(sign, relative, factor):
    weight = outliers("ms4", [((0, sign | 1), (3, sign | 2))], rows=4, relative=relative)
    x = np.array([[1, 2, 3, 4], [0, 0, 0, -1]], np.int8)
    found, record = both(machine(4, 4), x, weight)
    # The last row alone has the outlier; Lower's column has nothing of that row.
    want = np.full((2, 8), 10 * ONE)
    want[1] = -ONE
    want[:, 0] = 6 * ONE + 4 * 22 * factor, -22 * factor
    want[:, 3] = 6 * ONE, 0
    np.testing.assert_array_equal(found, want)
    # Its micro-block is whole after 7 cycles, and goes through 4 ranks.
    assert_cycles(record, rows=4, m=2, further=3 + 7 + 11)


def test_two_strips_on_two_by_sixteen():
    # Columns 8 to 15 have a network of their own, in row 0; columns 0 to 7 in row 1.
    weight = empty("ms4", 16, 2)
    weight.slots[:], weight.isf[:] = 1, 0
    for micro, row, upper, lower in ((1, 0, 5, 4), (0, 1, 2, 3)):
        weight.pairs[micro, row, 0] = upper, lower
        weight.relative_exponent[micro, row] = 0
        weight.slots[8 * micro + np.array([upper, lower]), row] = 3, 1
    x = np.array([[1, 10], [2, 20], [3, 30]], np.int8)
    found, record = both(machine(2, 8, recon_segment_columns=8), x, weight)
    # 1.11 01b = 29/16.
    want = np.full(16, 11 * ONE)
    want[13], want[12] = 29 + 10 * ONE, 10 * ONE
    want[2], want[3] = ONE + 10 * 29, ONE
    np.testing.assert_array_equal(found, np.outer([1, 2, 3], want))
    assert_cycles(record, rows=2, m=3, further=1 + 15 + 11)


PASS, EXCHANGE, LEFT_TO_RIGHT = 0, 1, 6
NO_LINK = "internal: the last rank has no cross links"


# A switch that obeys one command only. In a network of 16 columns rank 3 joins two micro-blocks,
# and rank 4 is the last one; of 8 it is rank 3.
@pytest.mark.parametrize(
    ("segment", "rank", "column", "command", "message"),
    [
        (8, 3, 1, LEFT_TO_RIGHT, NO_LINK),
        (0, 4, 1, LEFT_TO_RIGHT, NO_LINK),
        (0, 3, 1, EXCHANGE, "internal: a value leaves micro-block 0 in rank 3"),
        (0, 3, 9, EXCHANGE, "internal: a value leaves micro-block 1 in rank 3"),
        (8, 3, 1, PASS, None),
        (0, 4, 9, PASS, None),
    ],
)
def test_a_broken_switch_is_found(segment, rank, column, command, message):
    weight = empty("ms4", 16, 1)
    weight.slots[:], weight.isf[:] = 1, 0
    for micro in (0, 1):
        weight.pairs[micro, 0, 0], weight.relative_exponent[micro, 0] = (4, 5), 0
    module, inputs = tile(machine(2, 8, recon_segment_columns=segment), np.ones((1, 1), np.int8),
                          weight)  # fmt: skip
    right, _ = sums(module, inputs, (1, 16))
    module["microscopiq.set_stuck_switch"](rank, column, command)
    if message is None:
        np.testing.assert_array_equal(sums(module, inputs, (1, 16))[0], right)
        return
    with pytest.raises(SimError, match=message):
        sums(module, inputs, (1, 16))
