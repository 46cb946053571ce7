"""The table of units that the command line prints: where each one's cycles went."""

from ...runtime.results.causes import BUSY, CAUSES, IDLE
from .sheet import Sheet

TITLE = "Cycles by unit in percent: busy, waiting for what is named, idle"
BAR_WIDTH = 24
HEADINGS = {"fill_drain": "fill/drain"}


def unit_sheet(unit_cycles: dict[str, dict[str, int]]) -> Sheet:
    """Return the table of `RunResult.unit_cycles`.

    A cause that no unit has is left out, and a share of 0 is blank. The bar repeats the row: full
    blocks for busy, a cause's first letter for a wait.
    """
    causes = [
        key
        for key in CAUSES
        if key in (BUSY, IDLE) or any(parts[key] for parts in unit_cycles.values())
    ]
    rows = []
    for unit, parts in unit_cycles.items():
        cycles = sum(parts.values())
        shares = {key: parts[key] / cycles if cycles else 0.0 for key in causes}
        rows.append((unit, *map(_percent, shares.values()), bar(shares)))
    return Sheet(("unit", *(HEADINGS.get(key, key) for key in causes), "share"), rows)


def bar(shares: dict[str, float]) -> str:
    """Return a bar of letters by cause; what rounding leaves goes to the largest remainders."""
    exact = {key: BAR_WIDTH * share for key, share in shares.items()}
    lengths = {key: int(length) for key, length in exact.items()}
    left = round(sum(exact.values())) - sum(lengths.values())
    for key in sorted(exact, key=lambda key: lengths[key] - exact[key])[:left]:
        lengths[key] += 1
    return "".join(CAUSES[key].letter * length for key, length in lengths.items())


def _percent(share: float) -> str:
    if not share:
        return ""
    return f"{100 * share:.1f}" if share >= 0.0005 else "<0.1"
