"""How many placements of outliers and pruned slots ReCoN routes in one pass, by exhaustion.

python -m benchmarks.routability [--json]

A placement is a choice of n outlier columns and n pruned columns out of a micro-block's 8. With
free pairing the compiler chooses which outlier takes which slot; a random pairing is any of them.
The last column is a machine that doesn't exist here: its straight links carry one value more than
the column's own, so that a half can wait.
"""

import argparse
import itertools
import json
import math
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

from microscopiq.target.formats import MAX_OUTLIERS, MICRO_BLOCK
from microscopiq.target.routing import passes

PUBLISHED = {
    "free_pairing": (85.7, 98.1, 100.0, 100.0),
    "random_pairing": (85.7, 72.4, 59.0, 46.7),
    "extra_value": (100.0, 98.1, 100.0, 100.0),
}
"""Percent for 1 to 4 outliers, from an exhaustive count that was made before this code."""


def pairings(outliers: int):
    """Yield for each placement all its pairings, int8 ``(n!, n, 2)``."""
    for uppers in itertools.combinations(range(MICRO_BLOCK), outliers):
        free = [column for column in range(MICRO_BLOCK) if column not in uppers]
        for lowers in itertools.combinations(free, outliers):
            orders = itertools.permutations(lowers)
            yield np.array([[*zip(uppers, order, strict=True)] for order in orders], np.int8)


def routes_with_an_extra_value(pairs: np.ndarray) -> bool:
    """Tell whether ``(n, 2)`` pairs route when a straight link carries one value more."""
    taken = set()
    for upper, lower in pairs.tolist():
        way = upper ^ lower
        column = lower
        for rank in range((way & -way).bit_length() - 1, way.bit_length()):
            crosses = way >> rank & 1
            if (rank, column, crosses) in taken:
                return False
            taken.add((rank, column, crosses))
            column ^= crosses << rank
    return True


def measure(outliers: int) -> dict:
    """Return the row of a number of outliers: shares in percent."""
    free, random, extra, placements = 0, 0, 0, 0
    for choices in pairings(outliers):
        once = passes(choices) == 1
        placements += 1
        free += bool(once.any())
        random += int(once.sum())
        extra += any(routes_with_an_extra_value(pairs) for pairs in choices)
    return {
        "outliers": outliers,
        "placements": placements,
        "free_pairing": 100 * free / placements,
        "random_pairing": 100 * random / (placements * math.factorial(outliers)),
        "extra_value": 100 * extra / placements,
    }


def table(rows: list[dict]) -> Table:
    """Return the rows as a table for a terminal."""
    out = Table(title="Placements of a micro-block that ReCoN routes in one pass")
    headings = ("outliers", "placements", "free pairing", "random pairing", "extra value, free")
    for heading in headings:
        out.add_column(heading, justify="right")
    for row in rows:
        shares = [f"{row[name]:.1f} %" for name in PUBLISHED]
        out.add_row(str(row["outliers"]), f"{row['placements']:,}", *shares)
    return out


def main() -> int:
    """Count and print; exit with 1 when a share isn't the published one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [measure(outliers) for outliers in range(1, MAX_OUTLIERS + 1)]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=90).print(table(rows))
    same = all(
        round(row[name], 1) == shares[row["outliers"] - 1]
        for name, shares in PUBLISHED.items()
        for row in rows
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
