"""What ReCoN adds to planes whose outliers lie where chance puts them."""

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

from ...target.arch import Arch
from ...target.formats import MICRO_BLOCK, WEIGHT_FORMATS
from ...target.weight import blocks
from ..operators import Gemm

FEW_ROWS = 16
"""Of so few activation rows each cycle is arranged anew (runtime/src/recon/traffic.cc)."""
SETTLED, FOLLOWED = 16, 48
"""Planes that are followed to see how long they wait for each other, after the first ones."""
NEGLIGIBLE = 1e-4
"""Numbers of visits that are rarer than this are left out."""


@dataclass(frozen=True)
class Visits:
    """Visits to ReCoN of a row that streams through a plane: their numbers, and how likely each is.

    Attributes
    ----------
    depth : int
        Array rows of the plane.
    count, chance : numpy.ndarray
        Visits in the strip that has most, and the probability of this number.
    turns : numpy.ndarray
        Cycles from a row's start to the next one's with that many visits.
    step : int
        Cycles that a visit takes: the sync buffer's and one for each rank of the butterfly.
    units : int
        Networks of a strip.
    may_wait : bool
        Whether rows without outliers may wait in ReCoN.
    order : float or None
        Cycles that a plane waits for the order of rows, where planes follow each other row by row.
    """

    depth: int
    count: np.ndarray
    chance: np.ndarray
    turns: np.ndarray
    step: int
    units: int
    may_wait: bool
    order: float | None = None

    @property
    def mean_turns(self) -> float:
        return float(self.turns @ self.chance)

    @property
    def delay(self) -> float:
        """Cycles by which a row's sums are later than without visits: these follow each other."""
        return float(self.count @ self.chance) * self.step

    def gap(self, rows: int, alike: bool, load: float) -> float:
        """Return the cycles between the end of a plane's rows and the next plane's start.

        Three things keep the next one waiting, each for the numbers of visits of both:

        - Order: rows above its first visit have no buffer, so they wait until the earlier rows,
          late by their visits so far, have left: one in ``visits + 1`` of these; all of them if
          the next plane has no visits at all. Planes that start row by row wait for all that were
          late before them, in the strip where that is most (`order`).
        - The network: the earlier plane's visits end one after the other over `span` cycles. With
          other turns than theirs a visit meets them unless they are few: of a series that starts
          `w` cycles before their end, ``w**2 / (2 span turns)`` points meet one, about one at most
          if it may start. With the same turns it takes the cycles that they leave, and where there
          are several networks nearly always. None starts before they have served the one before.
        - Its weights: it can't start before they are loaded.

        Where rows may wait in ReCoN there is no order to keep at the start, and networks are free
        for them unless many rows take what the visits of both planes leave.

        Parameters
        ----------
        alike : bool
            Whether the same plane comes again.
        load : float
            Cycles of loading a plane.
        """
        count, chance, turns = self.count, self.chance, self.turns
        span = self.step * count + self.depth * np.maximum(0, count - 1) / (count + 1)
        free = np.maximum(0, span - np.sqrt(2 * span * turns))
        # Of fewer rows than this no series is long enough to meet another one.
        free[rows * rows * turns <= span] = 0
        order = self.step * count[:, None] / (count + 1)
        if self.order is not None and not alike:
            order = np.full_like(order, self.order)
            free = free * (self.units == 1)
        network = np.where((turns[:, None] != turns) & (count > 0), free[:, None], 0)
        wait, weight = np.maximum(order, network), chance[:, None] * chance
        if self.may_wait:
            crowded = np.maximum(0, count[:, None] + count - self.units) / self.units
            order = wait = self.step * (min(rows / FEW_ROWS, 1) / 2 + crowded * (rows > FEW_ROWS))
        if alike:
            wait, weight = np.diag(np.diag(order)), np.diag(chance)
        busy = (rows - 1) * turns + 1
        least = load if self.order is None else np.maximum(load, turns)[:, None]
        taken = np.maximum(busy[:, None] + wait, least)
        return float((taken * weight).sum() - busy @ chance)


def plane_visits(op: Gemm, arch: Arch, depth: int, width: int) -> Visits | None:
    """Return the visits of a plane of so many array rows and columns; None without outliers."""
    if not op.weight_format or not WEIGHT_FORMATS[op.weight_format].has_outliers:
        return None
    if not op.flagged_share:
        return None
    columns = arch.columns(WEIGHT_FORMATS[op.weight_format].pe_bits)
    segment = min(arch.recon_segment_columns or columns, columns)
    strip = min(segment, width)
    ranks = 1 + (segment - 1).bit_length()
    flagged = 1 - (1 - op.flagged_share) ** blocks(strip, MICRO_BLOCK)
    units, step = max(1, arch.recon_units), (MICRO_BLOCK - 1) // arch.skew_columns + ranks
    strips = blocks(width, strip)
    order = _order(depth, strips, flagged, step) if arch.row_release else None
    return _visits(depth, strips, flagged, units, step, bool(arch.recon_waits), order)


@functools.lru_cache(maxsize=1024)
def _visits(
    depth: int,
    strips: int,
    flagged: float,
    units: int,
    step: int,
    may_wait: bool,
    order: float | None,
) -> Visits:
    """Return the visits of the busiest of several strips whose rows are flagged by chance."""
    below, up_to, found = 0.0, 0.0, []
    for count in range(depth + 1):
        up_to += math.comb(depth, count) * flagged**count * (1 - flagged) ** (depth - count)
        chance = up_to**strips - below
        below = up_to**strips
        if chance > NEGLIGIBLE:
            found.append((count, chance))
    count, chance = np.array(found).T
    turns = np.maximum(1, count / units)
    return Visits(depth, count, chance / chance.sum(), turns, step, units, may_wait, order)


@functools.lru_cache(maxsize=1024)
def _order(depth: int, strips: int, flagged: float, step: int) -> float:
    """Return the mean wait of planes of one activation row each, where networks are always free.

    Array rows of a strip up to its next visit leave together; they may reach no row before those of
    the plane ahead have left it. Rows below a visit wait in ReCoN for that, those above the first
    one at the start, and all strips start at once. No formula is known for what adds up, so planes
    drawn by chance, always the same, are followed.
    """
    rng, start, first = np.random.default_rng(0), 0.0, 0.0
    ahead = np.zeros((strips, depth))
    for plane in range(SETTLED + FOLLOWED):
        if plane == SETTLED:
            first = start
        flags = rng.random((strips, depth)) < flagged
        ends = np.where(flags.any(axis=1), flags.argmax(axis=1), depth)
        needed = [row[end - 1] for row, end in zip(ahead, ends, strict=True) if end]
        start = max([start, *needed]) + 1
        gone = np.full_like(ahead, start)
        for strip, rows in enumerate(flags):
            visits, time = [*np.flatnonzero(rows), depth], start
            for begin, end in itertools.pairwise(visits):
                time = max(time + step, ahead[strip, end - 1] + 1)
                gone[strip, begin:end] = time
        ahead = gone
    return (start - first) / FOLLOWED - 1
