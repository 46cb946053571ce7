"""How ReCoN's butterfly brings Lower halves to their Upper halves inside one micro-block.

A network of W columns has log2(W) + 1 ranks of W two-in, two-out switches (MicroScopiQ A3). The
left ports are straight links, which carry the column's own value all the way; the right ports of
rank s cross to and from column ``c XOR 2^s``. Halves stay in their micro-block of 8 columns, so
ranks 0 to 2 cross, the next one only merges, and all further ranks of a wider network pass.

The straight links are occupied, so a Lower half can't wait: it crosses once per bit of the XOR of
the two columns, from the lowest set bit up, one rank after the other. The XOR must have no gap
(101b), and no two halves of a micro-block may need the same cross link. What routes like this takes
one pass through the network; anything else takes two, which are enough for any pairs.
"""

import enum
import functools
import itertools

import numpy as np

from .errors import InputError
from .formats import MAX_OUTLIERS, MICRO_BLOCK

CROSSING_RANKS = MICRO_BLOCK.bit_length() - 1
"""Ranks whose cross links stay inside a micro-block."""
RANKS = CROSSING_RANKS + 1
"""Ranks that matter to a micro-block: the last one merges what crossed in the one before."""
_GAP = 1 << CROSSING_RANKS * MICRO_BLOCK
"""In a set of links, which are bits ``rank * 8 + column``: this pair has no way of one pass."""


class Switch(enum.IntEnum):
    """What a switch does with its left (straight) and right (cross) inputs (MicroScopiQ A3)."""

    PASS = 0b000
    EXCHANGE = 0b001
    MERGE_TO_LEFT = 0b010
    MERGE_TO_RIGHT = 0b011
    RIGHT_TO_LEFT = 0b100
    RIGHT_TO_RIGHT = 0b101
    LEFT_TO_RIGHT = 0b110
    LEFT_TO_LEFT = 0b111


def route(upper: int, lower: int) -> list[tuple[int, int]] | None:
    """Return the cross links of a half's way from column `lower` to column `upper`.

    A link is (rank, column) of the switch that it leaves by its right port; None if the half
    would have to wait on a straight link. Raises InputError as `passes`.
    """
    _checked([(upper, lower)])
    way = upper ^ lower
    first, end = (way & -way).bit_length() - 1, way.bit_length()
    if way != (1 << end) - (1 << first):
        return None
    return [(rank, lower ^ (way & ((1 << rank) - 1))) for rank in range(first, end)]


def passes(pairs: np.ndarray) -> np.ndarray:
    """Return how often micro-blocks need the network: 0, 1 or 2 times.

    A row of the array needs as many passes as the micro-block that needs most.

    Parameters
    ----------
    pairs : array_like
        int ``(..., entries, 2)``: Upper and Lower column of each outlier, -1 where unused, as in
        `QuantizedWeight.pairs`.

    Returns
    -------
    numpy.ndarray
        uint8 of the leading shape; 0 for a micro-block without outliers.

    Raises
    ------
    InputError
        For a column that isn't 0 to 7, or has two halves.
    """
    checked = _checked(pairs)
    used = checked[..., 0] >= 0
    links = np.where(used, _links()[checked[..., 0], checked[..., 1]], 0)
    taken, twice = np.zeros(used.shape[:-1], np.int64), np.zeros(used.shape[:-1], bool)
    for entry in np.moveaxis(links, -1, 0):
        twice |= (entry & (taken | _GAP)) != 0
        taken |= entry
    return used.any(axis=-1).astype(np.uint8) + twice.astype(np.uint8)


def routable(pairs) -> bool:
    """Tell whether all pairs of a micro-block, ``(entries, 2)`` as in `passes`, route at once."""
    return bool(passes(pairs) <= 1)


def switch_commands(pairs) -> np.ndarray:
    """Return the commands that route the pairs of a micro-block in one pass.

    Parameters
    ----------
    pairs : array_like
        int ``(entries, 2)``, as in `passes`.

    Returns
    -------
    numpy.ndarray
        uint8 ``(4, 8)``, a `Switch` per rank and column.

    Raises
    ------
    InputError
        For pairs that need two passes, or as `passes`.
    """
    if not routable(pairs):
        raise InputError(f"pairs {_text(pairs)} need two passes; commands are those of one pass")
    commands = np.full((RANKS, MICRO_BLOCK), Switch.PASS, np.uint8)
    for upper, lower in _used(pairs):
        links = route(upper, lower) or []
        # In between it enters right and crosses again, beside whatever goes straight: PASS.
        commands[links[0]] = Switch.LEFT_TO_RIGHT
        commands[links[-1][0] + 1, upper] = Switch.MERGE_TO_LEFT
    return commands


def best_pairing(outliers, pruned) -> np.ndarray:
    """Return int8 ``(n, 2)`` pairs of given outlier and pruned columns, of one pass if any is.

    Raises
    ------
    InputError
        For numbers of columns that differ, or as `passes`.
    """
    uppers, lowers = [int(c) for c in outliers], [int(c) for c in pruned]
    if len(uppers) != len(lowers):
        raise InputError(f"{len(uppers)} outliers {uppers} for {len(lowers)} pruned slots {lowers}")
    choices = np.array(
        [[*zip(uppers, order, strict=True)] for order in itertools.permutations(lowers)], np.int8
    ).reshape(-1, len(uppers), 2)
    # The first of the fewest passes: the choice is the same everywhere.
    return choices[np.argmin(passes(choices))]


@functools.cache
def one_pass_placements(outliers: int) -> np.ndarray:
    """Return a routable pairing for each set of Lower slots that has one.

    Parameters
    ----------
    outliers : int
        Mask of a micro-block's outlier columns, 1 to 4 of them.

    Returns
    -------
    numpy.ndarray
        int8 ``(sets, 4, 2)``, read-only: pairs as in `passes`, Uppers ascending, sets in
        lexical order. For every mask and every width of a ragged micro-block with room for the
        Lower halves, at least one of the sets lies inside that width.

    Raises
    ------
    InputError
        For a mask with no or too many outliers.
    """
    uppers = [c for c in range(MICRO_BLOCK) if outliers >> c & 1]
    if outliers >> MICRO_BLOCK or not 0 < len(uppers) <= MAX_OUTLIERS:
        raise InputError(
            f"outlier mask {outliers:#b}: 1 to {MAX_OUTLIERS} of {MICRO_BLOCK} columns are allowed"
        )
    free = [c for c in range(MICRO_BLOCK) if c not in uppers]
    pairings = [best_pairing(uppers, slots) for slots in itertools.combinations(free, len(uppers))]
    pairings = [pairing for pairing in pairings if routable(pairing)]
    table = np.full((len(pairings), MAX_OUTLIERS, 2), -1, np.int8)
    table[:, : len(uppers)] = pairings
    table.setflags(write=False)
    return table


@functools.cache
def _links() -> np.ndarray:
    """Return int64 ``(8, 8)``: the links of each (Upper, Lower) as a set of bits."""
    table = np.full((MICRO_BLOCK, MICRO_BLOCK), _GAP, np.int64)
    for upper, lower in itertools.permutations(range(MICRO_BLOCK), 2):
        links = route(upper, lower)
        if links is not None:
            table[upper, lower] = sum(1 << rank * MICRO_BLOCK + column for rank, column in links)
    return table


def _checked(pairs) -> np.ndarray:
    """Return pairs as int64, or raise InputError for columns out of range or used twice."""
    array = np.asarray(pairs, np.int64)
    if array.ndim < 2 or array.shape[-1] != 2:
        raise InputError(f"pairs of shape {array.shape}; (..., entries, 2) is needed")
    used = (array >= 0) & (array < MICRO_BLOCK)
    bits = np.where(used, np.left_shift(1, np.where(used, array, 0)), 0)
    wrong = bits.sum(axis=(-2, -1)) != np.bitwise_or.reduce(bits, axis=(-2, -1))
    wrong |= ~(used.all(axis=-1) | (array == -1).all(axis=-1)).all(axis=-1)
    if wrong.any():
        raise InputError(
            f"pairs {_text(array[wrong][0])}: Upper and Lower are columns 0 to {MICRO_BLOCK - 1}, "
            "each used once, or both -1"
        )
    return array


def _used(pairs) -> list[tuple[int, int]]:
    return [(int(u), int(v)) for u, v in np.asarray(pairs) if u >= 0]


def _text(pairs) -> str:
    return ", ".join(f"({u}, {v})" for u, v in np.asarray(pairs))
