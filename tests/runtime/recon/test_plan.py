"""runtime/src/recon/route.cc, recon_plan.cc: commands that deliver, a table that keeps its word."""

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


def plan(rows, cols, strip, ranks, units, visits):
    found = recon_plan(rows, cols, strip, ranks, units, [n for visit in visits for n in visit])
    turns, latency, count, second = map(int, found["totals"])
    table = np.array(list(found["visits"]), int).reshape(-1, 4)
    assert (len(table), int(table[:, 1].sum())) == (count, second)
    return turns, latency, table


def test_plan_by_hand():
    assert plan(8, 8, 8, 4, 1, [])[:2] == (1, 14)  # rows + cols - 2
    # One visit: 7 cycles until the micro-block is whole, 4 ranks.
    assert plan(8, 8, 8, 4, 1, [(0, 2, 1)])[:2] == (1, 14 + 11)
    # Two rows, one network: row 3 arrives 12 cycles after row 2, in its residue, and waits one.
    turns, latency, table = plan(8, 8, 8, 4, 1, [(0, 2, 1), (0, 3, 1)])
    assert (turns, latency) == (2, 14 + 11 + 12)
    np.testing.assert_array_equal(table[:, 2], [2 + 8, 3 + 11 + 8 + 1])
    # A second pass starts where the first one ends: 4 more, and 1 for the other residue.
    turns, latency, table = plan(8, 8, 8, 4, 1, [(0, 2, 2)])
    assert (turns, latency) == (2, 14 + 11 + 4 + 1)
    np.testing.assert_array_equal(table[:, 2], [10, 10 + 4 + 1])
    # Two strips of their own: the second one's last column is 15, its delay 11.
    assert plan(8, 16, 8, 4, 1, [(0, 0, 2), (1, 5, 1)])[:2] == (2, max(7 + 7 + 16, 7 + 15 + 11))


def test_units_share_a_cycle():
    turns, latency, table = plan(8, 8, 8, 4, 2, [(0, row, 1) for row in range(4)])
    assert turns == 2
    assert sorted({(offset % 2, unit) for _, _, offset, unit in table.tolist()}) == [
        (0, 0), (0, 1), (1, 0), (1, 1)
    ]  # fmt: skip


@given(st.data())
def test_no_network_is_reserved_twice(data):
    rows, strips = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    units = data.draw(st.integers(1, 4))
    places = st.tuples(st.integers(0, strips - 1), st.integers(0, rows - 1))
    chosen = sorted(data.draw(st.sets(places)))
    visits = [(strip, row, data.draw(st.integers(1, 2))) for strip, row in chosen]
    turns, latency, table = plan(rows, 8 * strips, 8, 4, units, visits)
    count = [sum(passes for strip, _, passes in visits if strip == s) for s in range(strips)]
    assert turns == max(1, *(-(-visits // units) for visits in count))
    start = 0
    for visits_of_strip in count:
        part = table[start : start + visits_of_strip]
        reserved = [(offset % turns, unit) for _, _, offset, unit in part.tolist()]
        assert len(set(reserved)) == len(reserved)
        assert all(unit < units for _, unit in reserved)
        assert (np.diff(part[:, 2]) >= 4).all()  # a value leaves the network before it returns
        start += visits_of_strip
