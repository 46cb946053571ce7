"""compiler/cli/units.py: a reader sees where each unit's time goes, in 100 columns."""

from rich.console import Console

from microscopiq.compiler.cli.tables import print_table
from microscopiq.compiler.cli.units import BAR_WIDTH, bar, unit_sheet
from microscopiq.runtime.results.causes import CAUSES

UNITS = ("dma_in", "dma_out", "wload", "recon", "array", "vector")


def parts(**cycles: int) -> dict[str, int]:
    return dict.fromkeys(CAUSES, 0) | cycles


def printed(units: dict[str, dict[str, int]]) -> list[str]:
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        print_table(console, unit_sheet(units))
    return [line.rstrip() for line in capture.get().rstrip().splitlines()]


def test_all_causes_fit_one_line_each():
    full = dict.fromkeys(CAUSES, 10**9)
    lines = printed({unit: full for unit in UNITS})
    assert len(lines) == 2 + len(UNITS)
    assert lines[0].split() == ["unit", *(c.replace("_", "/") for c in CAUSES), "share"]
    assert lines[2].split()[:-1] == ["dma_in", *[f"{100 / len(CAUSES):.1f}"] * len(CAUSES)]
    assert max(map(len, lines)) <= 100


def test_shares_add_up_and_what_nobody_has_is_left_out():
    lines = printed({"array": parts(busy=1, recon=2999, idle=1000)})
    assert lines[0].split() == ["unit", "busy", "recon", "idle", "share"]
    assert lines[2].split() == ["array", "<0.1", "75.0", "25.0", "r" * 18 + "·" * 6]


def test_a_share_of_nothing_is_blank():
    lines = printed({"array": parts(busy=5, dma=5), "vector": parts(busy=10)})
    assert lines[2].split() == ["array", "50.0", "50.0", "█" * 12 + "d" * 12]
    assert lines[3].split() == ["vector", "100.0", "█" * BAR_WIDTH]
    assert printed({"array": parts()})[2].split() == ["array"]


def test_bars_are_never_too_long():
    for count in range(1, 9):
        shares = dict.fromkeys(list(CAUSES)[:count], 1 / count)
        assert len(bar(shares)) == BAR_WIDTH
    # 24 x (0.02, 0.58, 0.40) = 0.48, 13.92, 9.60: the two cells left go to dma and idle.
    assert bar({"busy": 0.02, "dma": 0.58, "idle": 0.4}) == "d" * 14 + "·" * 10
