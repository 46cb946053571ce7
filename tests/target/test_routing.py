"""target/routing.py against a network that is pushed through, switch by switch."""

import itertools

import numpy as np
import pytest

from benchmarks.routability import PUBLISHED, measure
from microscopiq.target.errors import InputError
from microscopiq.target.routing import (
    Switch,
    best_pairing,
    one_pass_placements,
    passes,
    routable,
    route,
    switch_commands,
)

MASKS = [mask for mask in range(1, 256) if mask.bit_count() <= 4]
OUTPUTS = {
    # Outputs (left, right) of a switch for its two inputs, "" for none (MicroScopiQ A3).
    0b000: lambda left, right: (left, right),
    0b001: lambda left, right: (right, left),
    0b010: lambda left, right: (f"{left}+{right}", ""),
    0b011: lambda left, right: ("", f"{left}+{right}"),
    0b100: lambda left, right: (right, ""),
    0b101: lambda left, right: ("", right),
    0b110: lambda left, right: ("", left),
    0b111: lambda left, right: (left, ""),
}
COLUMNS = [str(column) for column in range(8)]


def push(values: list[str], commands) -> list[str]:
    """Return what leaves the network when a value goes into each column, "" for none.

    What leaves by a right port of the last rank, which has no links, is appended.
    """
    left, right = values, [""] * 8
    for rank, row in enumerate(commands):
        out = [OUTPUTS[int(row[c])](left[c], right[c]) for c in range(8)]
        left = [each[0] for each in out]
        crossing = [each[1] for each in out]
        right = [crossing[c ^ 1 << rank] for c in range(8)] if rank < 3 else crossing
    return left + [value for value in right if value]


def merged(pairs) -> list[str]:
    """Return what has to come out: Upper + Lower, nothing at Lower, the rest as it went in."""
    wanted = list(COLUMNS)
    for upper, lower in pairs:
        wanted[upper], wanted[lower] = f"{upper}+{lower}", ""
    return wanted


def all_pairings() -> list[list[tuple[int, int]]]:
    """Return every choice of 1 to 4 Uppers, Lowers and who belongs to whom."""
    found = []
    for count in range(1, 5):
        for uppers in itertools.combinations(range(8), count):
            free = [c for c in range(8) if c not in uppers]
            for lowers in itertools.permutations(free, count):
                found.append(list(zip(uppers, lowers, strict=True)))
    return found


PAIRINGS = all_pairings()
NEEDED = passes([pairs + [(-1, -1)] * (4 - len(pairs)) for pairs in PAIRINGS])
ONCE = [pairs for pairs, needed in zip(PAIRINGS, NEEDED, strict=True) if needed == 1]


def test_commands_deliver_every_pairing_of_one_pass():
    assert len(ONCE) == 48 + 608 + 1984 + 784  # of 56, 840, 3360 and 1680
    for pairs in ONCE:
        assert push(COLUMNS, switch_commands(pairs)) == merged(pairs), pairs
    assert push(COLUMNS, switch_commands([(-1, -1)])) == COLUMNS


def test_the_network_notices_any_wrong_command():
    """Any other command where a half sets out or arrives changes what comes out."""
    same = {
        # Nothing comes in from the right where a half sets out.
        Switch.LEFT_TO_RIGHT: {Switch.LEFT_TO_RIGHT, Switch.EXCHANGE},
        Switch.MERGE_TO_LEFT: {Switch.MERGE_TO_LEFT},
    }
    for pairs in ONCE[::53]:
        commands = switch_commands(pairs)
        for rank, column in zip(*np.nonzero(commands), strict=True):
            for other in set(Switch) - same[commands[rank, column]]:
                wrong = commands.copy()
                wrong[rank, column] = other
                assert push(COLUMNS, wrong) != merged(pairs), (pairs, rank, column, other)


def test_one_pass_placements_are_every_set_that_routes():
    routes = {tuple(pairs) for pairs in ONCE}
    sets = {(tuple(u for u, _ in pairs), frozenset(v for _, v in pairs)) for pairs in routes}
    listed = []
    for mask in MASKS:
        uppers = tuple(c for c in range(8) if mask >> c & 1)
        for pairs in one_pass_placements(mask):
            used = [(int(u), int(v)) for u, v in pairs if u >= 0]
            assert tuple(u for u, _ in used) == uppers and tuple(used) in routes
            assert (pairs[len(used) :] == -1).all()
            listed.append((uppers, frozenset(v for _, v in used)))
    assert len(listed) == len(set(listed)) and set(listed) == sets


@pytest.mark.parametrize("width", range(2, 9))
def test_a_narrow_micro_block_routes_in_one_pass_too(width):
    """Wherever each outlier has a slot in a ragged micro-block, some set of them routes."""
    masks = [m for m in MASKS if not m >> width and m.bit_count() <= width // 2]
    assert masks
    for mask in masks:
        assert (one_pass_placements(mask)[..., 1] < width).all(axis=1).any(), bin(mask)


@pytest.mark.parametrize("outliers", range(1, 5))
def test_published_shares(outliers):
    """85.7 / 98.1 / 100 / 100 % with free pairing (MicroScopiQ notes, A3)."""
    row = measure(outliers)
    for name, shares in PUBLISHED.items():
        assert round(row[name], 1) == shares[outliers - 1], name


def test_lists_of_figure_3():
    """Two of the paper's lists hold pairs 101b apart, (3,6) and (0,5): they take two passes."""
    assert route(3, 6) is None and route(0, 5) is None
    assert route(0, 2) == [(1, 2)] and route(4, 7) == [(0, 7), (1, 6)]
    lists = [[(0, 2), (3, 6)], [(0, 3), (1, 5), (4, 7)], [(0, 5), (1, 4), (2, 7), (3, 6)]]
    padded = [pairs + [(-1, -1)] * (4 - len(pairs)) for pairs in lists]
    assert passes(padded).tolist() == [2, 1, 2]
    assert [routable(pairs) for pairs in lists] == [False, True, False]
    message = r"^pairs \(0, 2\), \(3, 6\) need two passes; commands are those of one pass$"
    with pytest.raises(InputError, match=message):
        switch_commands(lists[0])


def test_best_pairing_is_of_one_pass_where_there_is_one():
    fewest: dict = {}
    for pairs, needed in zip(PAIRINGS, NEEDED, strict=True):
        slots = tuple(u for u, _ in pairs), tuple(sorted(v for _, v in pairs))
        fewest[slots] = min(needed, fewest.get(slots, 2))
    for (uppers, lowers), needed in fewest.items():
        best = best_pairing(uppers, lowers)
        assert best[:, 0].tolist() == list(uppers) and set(best[:, 1].tolist()) == set(lowers)
        assert passes(best) == needed


def test_passes_of_many_micro_blocks():
    unused = [(-1, -1), (-1, -1)]
    row = np.array([unused, [(0, 1), (-1, -1)], [(0, 5), (-1, -1)], [(0, 2), (4, 3)]])
    assert passes(row).tolist() == [0, 1, 2, 2]
    assert passes(row.reshape(2, 2, 2, 2)).tolist() == [[0, 1], [2, 2]]
    assert passes(np.zeros((0, 4, 2), np.int8)).shape == (0,)
    assert passes(np.zeros((3, 0, 2), np.int8)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "pairs", [[(0, 8)], [(3, 3)], [(0, 1), (1, 2)], [(0, -1)], [(-1, 4)], [(-2, -2)], [(0, 300)]]
)
def test_columns_that_are_not_those_of_pairs(pairs):
    text = ", ".join(f"({u}, {v})" for u, v in pairs)
    with pytest.raises(InputError) as caught:
        passes(pairs)
    assert str(caught.value) == (
        f"pairs {text}: Upper and Lower are columns 0 to 7, each used once, or both -1"
    )


def test_other_mistakes():
    with pytest.raises(InputError, match=r"^2 outliers \[0, 1\] for 1 pruned slots \[2\]$"):
        best_pairing([0, 1], [2])
    with pytest.raises(InputError, match=r"^pairs \(4, 4\): Upper and Lower"):
        route(4, 4)
    with pytest.raises(InputError, match=r"^pairs of shape \(2,\); \(..., entries, 2\) is needed$"):
        passes([0, 1])
    for mask in (0, 0b11111, 1 << 8):
        message = rf"^outlier mask {mask:#b}: 1 to 4 of 8 columns are allowed$"
        with pytest.raises(InputError, match=message):
            one_pass_placements(mask)
    with pytest.raises(ValueError, match="read-only"):
        one_pass_placements(1)[0] = 0
