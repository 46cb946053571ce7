"""runtime/src/recon_traffic.cc: matmuls that follow each other never meet."""

import numpy as np
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq import runtime

runtime.load()
recon_plan = tvm_ffi.get_global_func("microscopiq.runtime.recon_plan")
recon_traffic = tvm_ffi.get_global_func("microscopiq.runtime.recon_traffic")
WIDTH, RANKS, SYNC = 8, 4, 7


def run(matmuls, units, strips):
    """Return (start, turns, latency, delay, visits (n, 5)) of each matmul."""
    rows = []
    for found in recon_traffic(WIDTH, RANKS, units, strips, matmuls):
        times = [int(value) for value in found["times"]]
        rows.append((*times, np.array(list(found["visits"]), int).reshape(-1, 5)))
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
    ((start, turns, latency, delay, granted),) = run([[5, 9, 8, *flat(visits)]], 1, 2)
    plan = recon_plan(8, 16, WIDTH, RANKS, 1, flat(visits))
    assert (start, turns, latency) == (5, plan["totals"][0], plan["totals"][1])
    assert delay == max(delays(granted, strip, 8)[1] for strip in (0, 1))
    table = np.array(list(plan["visits"]), int).reshape(-1, 4)
    np.testing.assert_array_equal(granted[:, 1:], table)


def test_the_next_one_waits_where_it_would_overtake():
    # Behind a row that ReCoN holds back by 11 cycles, a plane without outliers starts 11 later.
    held, free = [0, 4, 8, *flat([(0, 2, 1)])], [4, 4, 8]
    first, second = run([held, free], 1, 1)
    assert (first[0], first[1], first[3]) == (0, 1, 11)
    assert second[0] == 4 + 11
    # One with outliers of its own is held back at them instead.
    assert run([held, [4, 4, 8, *flat([(0, 2, 1)])]], 1, 1)[1][0] == 4


def test_a_plane_without_outliers_is_in_every_strip():
    # The second one has no visit in strip 1, where its one row must not overtake the first's two.
    first, second = run([[0, 1, 2], [0, 1, 1, *flat([(0, 0, 1)])]], 1, 2)
    assert (first[0], second[0]) == (0, 2)


@settings(deadline=None)
@given(st.data())
def test_nothing_meets(data):
    units, strips = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    matmuls, clock = [], 0
    for _ in range(data.draw(st.integers(1, 6))):
        rows, m = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 12))
        places = st.tuples(st.integers(0, strips - 1), st.integers(0, rows - 1))
        chosen = sorted(data.draw(st.sets(places)))
        visits = [(strip, row, data.draw(st.integers(1, 2))) for strip, row in chosen]
        matmuls.append((clock, m, rows, visits))
        clock += data.draw(st.integers(0, 40))
    granted = run([[t, m, rows, *flat(v)] for t, m, rows, v in matmuls], units, strips)
    taken, latest = set(), {}

    def follows(place, first, last):
        """Nothing comes to a place before all that came earlier."""
        assert first > latest.get(place, -1), place
        latest[place] = last

    for (clock, m, rows, visits), (start, turns, latency, delay, table) in zip(
        matmuls, granted, strict=True
    ):
        assert start >= clock
        assert len(table) == sum(passes for *_, passes in visits)
        span = (m - 1) * turns
        twice = {(strip, row) for strip, row, passes in visits if passes == 2}
        for strip, array_row, again, offset, unit in table.tolist():
            for row in range(m):
                cycle = (strip, unit, start + offset + row * turns)
                assert cycle not in taken
                taken.add(cycle)
            first = start + offset
            if not again:
                follows(("sync buffer", strip, array_row), first, first + span)
            if again or (strip, array_row) not in twice:
                follows(("skew buffer", strip, array_row), first, first + span)
        reached = [delays(table, strip, rows) for strip in range(strips)]
        for strip, (at_rows, behind) in enumerate(reached):
            arrivals = {int(v[1]): int(v[3]) for v in table if v[0] == strip and v[2] == 0}
            assert all(at >= row + 1 + at_rows[row] + SYNC for row, at in arrivals.items())
            assert behind <= delay
            for row in range(rows):
                first = start + at_rows[row]
                follows(("row", strip, row), first, first + span)
            first = start + rows - 1 + behind
            follows(("exit", strip), first, first + span)
        if len(table):
            exits = [rows - 1 + WIDTH * (s + 1) - 1 + d for s, (_, d) in enumerate(reached)]
            assert latency == max(exits)
