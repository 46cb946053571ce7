"""runtime/src/recon/traffic.cc: matmuls that follow each other never meet."""

import collections

import numpy as np
import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st

from microscopiq import runtime

runtime.load()
recon_plan = tvm_ffi.get_global_func("microscopiq.runtime.recon_plan")
recon_traffic = tvm_ffi.get_global_func("microscopiq.runtime.recon_traffic")
WIDTH, RANKS, SYNC = 8, 4, 7
ROWS = 24


def run(matmuls, units, strips, array_rows=ROWS, may_wait=False):
    """Return (start, cadence, latency, delay, depth, visits (n, 5)) of each matmul.

    A visit is (strip, array row, pass, offset, whether it only waits).
    """
    rows = []
    for found in recon_traffic(array_rows, WIDTH, RANKS, units, strips, may_wait, matmuls):
        start, period, starts, *times = (int(value) for value in found["times"])
        visits = np.array(list(found["visits"]), int).reshape(-1, 5)
        rows.append((start, (period, starts), *times, visits))
    return rows


def flat(visits):
    return [number for visit in visits for number in visit]


def delays(visits, strip, rows):
    """Return the delay with which each row of a strip is reached, and that at its exit."""
    out, delay = [], 0
    behind = {int(v[1]): int(v[3]) + RANKS - int(v[1]) - 1 for v in visits if v[0] == strip}
    for row in range(rows):
        out.append(delay)
        delay = behind.get(row, delay)
    return out, delay


def test_alone_a_matmul_gets_its_plan():
    visits = [(0, 2, 1), (0, 3, 2), (1, 0, 1), (1, 7, 1)]
    ((start, cadence, latency, delay, depth, granted),) = run([[5, 9, 8, *flat(visits)]], 1, 2)
    plan = recon_plan(8, 16, WIDTH, RANKS, 1, flat(visits))
    assert depth == 8
    assert (start, *cadence, latency) == (5, *list(plan["totals"])[:3])
    assert delay == max(delays(granted, strip, 8)[1] for strip in (0, 1))
    table = np.array(list(plan["visits"]), int).reshape(-1, 4)
    np.testing.assert_array_equal(granted[:, 1:], table)


def test_the_next_one_waits_where_it_would_overtake():
    # Behind a row that ReCoN holds back by 11 cycles, a plane without outliers starts 11 later.
    held, free = [0, 4, 8, *flat([(0, 2, 1)])], [4, 4, 8]
    first, second = run([held, free], 1, 1)
    assert (first[0], first[1], first[3]) == (0, (1, 1), 11)
    assert second[0] == 4 + 11
    # One with outliers of its own is held back at them instead.
    assert run([held, [4, 4, 8, *flat([(0, 2, 1)])]], 1, 1)[1][0] == 4


def test_the_next_one_finds_the_network_taken():
    # Turns of 2: the first pass in cycles 10, 12 and 14, the second, there in cycle 3 + 11 like
    # the last first one, in 15, 17 and 19. So row 2 is held back by 15 + 4 - 3 cycles.
    twice = [0, 3, 8, *flat([(0, 2, 2)])]
    first, second = run([twice, [5, 3, 8, *flat([(0, 2, 1)])]], 1, 1)
    assert first[:5] == (0, (2, 1), 7 + 7 + 16, 16, 8)
    np.testing.assert_array_equal(first[5][:, 1:], [(2, 0, 10, 0), (2, 1, 15, 0)])
    # Behind it, there in cycle 5 + 10, the next one's only pass comes after its last final one.
    assert second[:5] == (5, (1, 1), 7 + 7 + 16, 16, 8)
    np.testing.assert_array_equal(second[5][:, 1:], [(2, 0, 15, 0)])
    # With two networks the second pass needn't wait: turns of 1, in cycles 14, 15 and 16.
    first, second = run([twice, [3, 3, 8, *flat([(0, 2, 1)])]], 2, 1)
    assert first[:5] == (0, (1, 1), 7 + 7 + 15, 15, 8)
    np.testing.assert_array_equal(first[5][:, 1:], [(2, 0, 10, 0), (2, 1, 14, 0)])
    # The next one comes 3 cycles later and leaves as much later: in cycles 17 to 19.
    assert second[:5] == (3, (1, 1), 7 + 7 + 15, 15, 8)
    np.testing.assert_array_equal(second[5][:, 1:], [(2, 0, 14, 0)])


def test_cycles_that_the_earlier_one_leaves_free_are_taken():
    # Turns of 3: cycles 8, 11, 14; there in 1 + 11 + 8, its residue taken: 21, 24, 27; and again
    # a residue further: 34, 37, 40. Delays of 11, 23 and 35 behind rows 0, 1 and 2.
    rows = [(0, row, 1) for row in range(3)]
    first, second = run([[0, 3, 3, *flat(rows)], [7, 1, 3, *flat(rows[2:])]], 1, 1)
    assert first[:5] == (0, (3, 1), 2 + 7 + 35, 35, 3)
    np.testing.assert_array_equal(first[5][:, 3], [8, 21, 34])
    # The second one has an outlier in row 2 only and isn't held back before: it waits at the start
    # until the last row has left rows 1 and 2, in cycle 6 + 23 + 1. Then it is there in cycle
    # 30 + 10 at the earliest, when the first one's last visit has its turn: one cycle later.
    assert second[0] == 30
    assert second[1:5] == ((1, 1), 2 + 7 + 12, 12, 3)
    np.testing.assert_array_equal(second[5][:, 1:], [(2, 0, 11, 0)])


def test_a_plane_without_outliers_is_in_every_strip():
    # The second one has no visit in strip 1, where its one row must not overtake the first's two.
    matmuls = [[0, 1, 2], [0, 1, 1, *flat([(0, 0, 1)])]]
    first, second = run(matmuls, 1, 2)
    assert (first[0], first[4]) == (0, 2)
    assert (second[0], second[4]) == (1, 2)
    # An array of one row has none below: it starts later.
    first, second = run(matmuls, 1, 2, array_rows=1)
    assert (second[0], second[4]) == (2, 1)


def test_a_short_plane_goes_down_as_far_as_it_must():
    # The last sum of the tall plane leaves in cycle 9 + 63, so that of the short one's first row
    # may in cycle 73: after as many rows as there are cycles until then.
    for clock, depth in ((10, 64), (40, 34), (70, 4), (71, 3), (100, 3)):
        first, second = run([[0, 10, 64], [clock, 4, 3]], 1, 1, array_rows=64)
        assert (first[0], first[4]) == (0, 64)
        assert (second[0], second[4]) == (clock, depth)


def test_it_goes_no_further_than_where_the_earlier_ones_have_left():
    # ReCoN holds the first one back by 11 cycles in row 1. It leaves row 0 after cycle 3, rows 2
    # to 7 are free 15 cycles after 0 at the earliest, and its last sum leaves in 3 + 7 + 11.
    held = [0, 4, 8, *flat([(0, 1, 1)])]
    for array_rows, start in ((1, 22), (2, 21), (3, 20), (7, 16), (8, 15), (64, 15)):
        found = run([held, [4, 4, 1]], 1, 1, array_rows)[1]
        assert (found[0], found[4]) == (start, min(array_rows, 8))


@given(st.data())
def test_sums_leave_no_later_than_without_rows_below(data):
    """In an array without rows below, a matmul without outliers waits at the start instead."""
    rows, m, clock = (data.draw(st.integers(1, most)) for most in (ROWS, 12, 40))
    visits = sorted(data.draw(st.sets(st.integers(0, rows - 1), max_size=4)))
    before = [0, m, rows, *flat([(0, row, 1) for row in visits])]
    behind = [clock, data.draw(st.integers(1, 12)), data.draw(st.integers(1, ROWS))]
    start, *_, depth, _ = run([before, behind], 1, 1)[-1]
    waiting, *_, rows, _ = run([before, behind], 1, 1, array_rows=1)[-1]
    assert rows == behind[2] <= depth <= ROWS
    assert start <= waiting
    assert start + depth <= waiting + rows
    assert (start == waiting) == (depth == rows)


def test_a_row_without_outliers_waits_behind_those_that_recon_holds_back():
    # The first one is held back by 11 cycles in row 1, the second one in row 6 only. It comes to
    # row 2 in time if row 1 waits as long; in row 6 it's held back anew.
    first, second = [0, 1, 8, *flat([(0, 1, 1)])], [4, 1, 8, *flat([(0, 6, 1)])]
    assert run([first, second], 1, 1)[1][0] == 4 + 11 - 4 + 1
    start, *_, delay, depth, visits = run([first, second], 1, 1, may_wait=True)[1]
    assert (start, delay, depth) == (4, 22, 8)
    assert visits[:, 1:].tolist() == [[1, 0, 2 + 7, 1], [6, 0, 7 + 11 + 7, 0]]
    # One that comes 11 cycles later has nothing ahead of it.
    late = run([first, [12, *second[1:]]], 1, 1, may_wait=True)[1]
    assert (late[0], late[5][:, 1].tolist()) == (12, [6])


@given(st.data())
def test_nothing_meets(data):
    units, strips = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3))
    may_wait, most = data.draw(st.booleans()), data.draw(st.sampled_from([12, 40]))
    matmuls, clock = [], 0
    for _ in range(data.draw(st.integers(1, 6))):
        rows, m = data.draw(st.integers(1, ROWS)), data.draw(st.integers(1, most))
        places = st.tuples(st.integers(0, strips - 1), st.integers(0, rows - 1))
        chosen = sorted(data.draw(st.sets(places)))
        visits = [(strip, row, data.draw(st.integers(1, 2))) for strip, row in chosen]
        matmuls.append((clock, m, rows, visits))
        clock += data.draw(st.integers(0, 40))
    granted = run([[t, m, rows, *flat(v)] for t, m, rows, v in matmuls], units, strips,
                  may_wait=may_wait)  # fmt: skip
    taken, latest = collections.Counter(), {}

    def follows(place, first, last):
        """Nothing comes to a place before all that came earlier."""
        assert first > latest.get(place, -1), place
        latest[place] = last

    for (clock, m, rows, visits), (start, cadence, latency, delay, depth, table) in zip(
        matmuls, granted, strict=True
    ):
        assert start >= clock
        assert rows <= depth <= ROWS
        own = [v for v in table.tolist() if not v[4]]
        assert len(own) == sum(passes for *_, passes in visits)
        assert may_wait or len(own) == len(table)
        begins = [row * cadence[0] // cadence[1] for row in range(m)]
        span = begins[-1]
        twice = {(strip, row) for strip, row, passes in visits if passes == 2}
        for strip, array_row, again, offset, _ in table.tolist():
            taken.update((strip, start + offset + begin) for begin in begins)
            first = start + offset
            if not again:
                follows(("sync buffer", strip, array_row), first, first + span)
            if again or (strip, array_row) not in twice:
                follows(("skew buffer", strip, array_row), first, first + span)
        assert max(taken.values(), default=0) <= units
        reached = [delays(table, strip, depth) for strip in range(strips)]
        for strip, (at_rows, behind) in enumerate(reached):
            arrivals = {int(v[1]): int(v[3]) for v in table if v[0] == strip and v[2] == 0}
            assert all(at >= row + 1 + at_rows[row] + SYNC for row, at in arrivals.items())
            assert behind <= delay
            for row in range(depth):
                first = start + at_rows[row]
                follows(("row", strip, row), first, first + span)
            first = start + depth - 1 + behind
            follows(("exit", strip), first, first + span)
        if visits:
            exits = [depth - 1 + WIDTH * (s + 1) - 1 + d for s, (_, d) in enumerate(reached)]
            assert latency == max(exits)
