"""runtime/src/recon/route.cc, plan.cc: commands that deliver, a table that keeps its word."""

import itertools

import numpy as np
import pytest
import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target import routing

runtime.load()
switch_commands = tvm_ffi.get_global_func("microscopiq.runtime.switch_commands")
recon_plan = tvm_ffi.get_global_func("microscopiq.runtime.recon_plan")

PASS, EXCHANGE, MERGE_LEFT, RIGHT_TO_LEFT, LEFT_TO_RIGHT = 0, 1, 2, 4, 6


def pair_sets(outliers):
    """Yield every set of (upper, lower) columns of a micro-block, once each."""
    for uppers in itertools.combinations(range(8), outliers):
        rest = [column for column in range(8) if column not in uppers]
        for lowers in itertools.permutations(rest, outliers):
            yield list(zip(uppers, lowers, strict=True))


def route(pairs):
    found = switch_commands([column for pair in pairs for column in pair])
    entering = [int(mask) for mask in found["entering"]]
    return entering, np.array(list(found["commands"])).reshape(len(entering), 4, 8)


def push(entering, commands):
    """Return what arrives by column: sets of the columns that the values came from."""
    left = [{column} if entering >> column & 1 else set() for column in range(8)]
    right = [set() for _ in range(8)]
    for rank, row in enumerate(commands):
        straight, cross = [set() for _ in range(8)], [set() for _ in range(8)]
        for column, command in enumerate(row):
            ways = {
                PASS: (left[column], right[column]),
                EXCHANGE: (right[column], left[column]),
                MERGE_LEFT: (left[column] | right[column], set()),
                RIGHT_TO_LEFT: (right[column], set()),
                LEFT_TO_RIGHT: (set(), left[column]),
            }
            straight[column], to_cross = ways[int(command)]
            if rank < 3:
                cross[column ^ 1 << rank] = to_cross
            else:
                assert not to_cross
            lost = (left[column] | right[column]) - straight[column] - to_cross
            assert not lost, f"rank {rank}, column {column} drops {lost}"
        left, right = straight, cross
    return left


# The counts are those of MicroScopiQ A3: 85.7, 72.4, 59.0 and 46.7 % of random pairings.
@pytest.mark.parametrize(("outliers", "one_pass", "sets"),
                         [(1, 48, 56), (2, 608, 840), (3, 1984, 3360), (4, 784, 1680)])  # fmt: skip
def test_commands_deliver_every_set_of_pairs(outliers, one_pass, sets):
    passes = []
    for pairs in pair_sets(outliers):
        entering, commands = route(pairs)
        arrived = [set() for _ in range(8)]
        for mask, rows in zip(entering, commands, strict=True):
            for column, values in enumerate(push(mask, rows)):
                assert not (arrived[column] and values), f"{pairs}: column {column} twice"
                arrived[column] |= values
        want = [{column} for column in range(8)]
        for upper, lower in pairs:
            want[upper], want[lower] = {upper, lower}, set()
        assert arrived == want, pairs
        passes.append(len(entering))
    assert (passes.count(1), len(passes)) == (one_pass, sets)
    assert set(passes) <= {1, 2}


def test_the_compiler_routes_as_the_machine_does():
    """target/routing.py, which chooses the lists: the same passes, and commands of the one pass."""
    sets = [pairs for outliers in range(1, 5) for pairs in pair_sets(outliers)]
    needed = routing.passes([pairs + [(-1, -1)] * (4 - len(pairs)) for pairs in sets])
    for pairs, passes in zip(sets, needed, strict=True):
        entering, commands = route(pairs)
        assert len(entering) == passes, pairs
        if passes == 1:
            np.testing.assert_array_equal(commands[0], routing.switch_commands(pairs))


def test_lists_of_the_paper():
    # Fig. 3: XOR 101 leaves a gap between ranks 0 and 2.
    assert len(route([(0, 2), (3, 6)])[0]) == 2
    assert len(route([(0, 3), (1, 5), (4, 7)])[0]) == 1
    assert len(route([(0, 5), (1, 4), (2, 7), (3, 6)])[0]) == 2
    # Lower 2 crosses rank 1 and meets its Upper in rank 2; iAcc stays, so 2 sends only right.
    (_, commands) = route([(0, 2)])
    want = np.zeros((4, 8), int)
    want[1, 2], want[2, 0] = LEFT_TO_RIGHT, MERGE_LEFT
    np.testing.assert_array_equal(commands[0], want)


# With two passes as few pairs as possible wait, then the columns that are in their way.
@pytest.mark.parametrize(
    ("pairs", "entering"),
    [
        # 6 crosses rank 0 to column 7, waits there in rank 1, crosses rank 2: column 7 comes later.
        ([(0, 2), (3, 6)], [0x7F, 0x80]),
        # All halves wait in columns whose own values are halves that have left.
        ([(0, 5), (1, 4), (2, 7), (3, 6)], [0xFF, 0x00]),
        # Both need the cross link of column 2 in rank 1: 3 by way of 2, and 2 itself.
        ([(0, 3), (4, 2)], [0xF6, 0x09]),
        ([(4, 2), (0, 3)], [0xEB, 0x14]),
    ],
)
def test_the_fewest_wait(pairs, entering):
    assert route(pairs)[0] == entering


def plan(rows, cols, strip, ranks, units, visits):
    found = recon_plan(rows, cols, strip, ranks, units, [n for visit in visits for n in visit])
    period, starts, latency, count, second = map(int, found["totals"])
    table = np.array(list(found["visits"]), int).reshape(-1, 4)
    assert (len(table), int(table[:, 1].sum())) == (count, second)
    return (period, starts), latency, table


def test_plan_by_hand():
    assert plan(8, 8, 8, 4, 1, [])[:2] == ((1, 1), 14)  # rows + cols - 2
    # One visit: 7 cycles until the micro-block is whole, 4 ranks.
    assert plan(8, 8, 8, 4, 1, [(0, 2, 1)])[:2] == ((1, 1), 14 + 11)
    # Two rows, one network: row 3 arrives 12 cycles after row 2, in its residue, and waits one.
    cadence, latency, table = plan(8, 8, 8, 4, 1, [(0, 2, 1), (0, 3, 1)])
    assert (cadence, latency) == ((2, 1), 14 + 11 + 12)
    np.testing.assert_array_equal(table[:, 2], [2 + 8, 3 + 11 + 8 + 1])
    # A second pass starts where the first one ends: 4 more, and 1 for the other residue.
    cadence, latency, table = plan(8, 8, 8, 4, 1, [(0, 2, 2)])
    assert (cadence, latency) == ((2, 1), 14 + 11 + 4 + 1)
    np.testing.assert_array_equal(table[:, 2], [10, 10 + 4 + 1])
    # Two strips of their own: the second one's last column is 15, its delay 11.
    assert plan(8, 16, 8, 4, 1, [(0, 0, 2), (1, 5, 1)])[:2] == (
        (2, 1),
        max(7 + 7 + 16, 7 + 15 + 11),
    )


def test_more_networks_by_hand():
    # Rows 0 to 3 come 8, 20, 32 and 44 cycles after their activation, 12 apart.
    rows = [(0, row, 1) for row in range(4)]
    # In a period of 4 each finds the residue of the one before it taken: one cycle more each time.
    cadence, latency, table = plan(4, 8, 8, 4, 1, rows)
    assert (cadence, latency) == ((4, 1), 3 + 7 + 4 * 11 + 3)
    assert table[:, 2].tolist() == [8, 21, 34, 47]
    # In a period of 2 another network serves the second one, and the third waits a cycle.
    cadence, latency, table = plan(4, 8, 8, 4, 2, rows)
    assert (cadence, latency) == ((2, 1), 3 + 7 + 4 * 11 + 1)
    assert table[:, 2].tolist() == [8, 20, 33, 45]
    cadence, latency, table = plan(4, 8, 8, 4, 4, rows)
    assert (cadence, latency) == ((1, 1), 3 + 7 + 4 * 11)
    assert table[:, 2].tolist() == [8, 20, 32, 44]
    # Three visits and two networks: two rows every 3 cycles, and each visit in a residue of its
    # own: the second pass comes 4 ranks behind the first, and the other row in cycle 3 + 15 + 7.
    cadence, latency, table = plan(4, 8, 8, 4, 2, [(0, 0, 2), (0, 2, 1)])
    assert (cadence, latency) == ((3, 2), 3 + 7 + 11 + 4 + 11)
    np.testing.assert_array_equal(table, [(0, 0, 8, 0), (0, 1, 12, 0), (2, 0, 25, 0)])


def test_each_strip_has_networks_and_a_table_of_its_own():
    # Strip 1 has two visits, so both strips have a period of 2. Its second row comes 12 later.
    cadence, latency, table = plan(4, 16, 8, 4, 1, [(0, 3, 1), (1, 0, 1), (1, 1, 1)])
    assert (cadence, latency) == ((2, 1), 3 + 15 + 11 + 12)
    np.testing.assert_array_equal(table[:, [0, 2]], [(3, 11), (0, 8), (1, 21)])
    # A network of 16 columns has 5 ranks.
    assert plan(4, 16, 16, 5, 1, [(0, 3, 1)])[:2] == ((1, 1), 3 + 15 + 12)
    # The last strip may be cut, here after 4 of its columns.
    assert plan(4, 12, 8, 4, 1, [(1, 3, 1)])[:2] == ((1, 1), 3 + 11 + 11)


def test_rows_start_as_evenly_as_that_goes():
    # Six visits and four networks: two places for each residue, and four rows every six cycles.
    cadence, _, table = plan(12, 8, 8, 4, 4, [(0, 2 * row, 1) for row in range(6)])
    assert cadence == (3, 2)
    assert sorted(table[:, 2] % 3) == [0, 0, 1, 1, 2, 2]


@given(st.data())
def test_no_cycle_has_more_visits_than_networks(data):
    rows, strips = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    units = data.draw(st.integers(1, 12))
    places = st.tuples(st.integers(0, strips - 1), st.integers(0, rows - 1))
    chosen = sorted(data.draw(st.sets(places)))
    visits = [(strip, row, data.draw(st.integers(1, 2))) for strip, row in chosen]
    (period, starts), latency, table = plan(rows, 8 * strips, 8, 4, units, visits)
    count = [sum(passes for strip, _, passes in visits if strip == s) for s in range(strips)]
    # No slower than the fullest strip's visits over its networks, and no faster than a row a cycle.
    assert period * min(units, max(count)) == max(count) * starts or period == starts == 1
    assert period * units >= max(count) * starts
    start = 0
    for visits_of_strip in count:
        part = table[start : start + visits_of_strip]
        begins = np.arange(4 * starts) * period // starts
        cycles = (part[:, 2][:, None] + begins).ravel()
        assert np.bincount(cycles, minlength=1).max() <= units
        assert (np.diff(part[:, 2]) >= 4).all()  # a value leaves the network before it returns
        start += visits_of_strip
