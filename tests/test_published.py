"""benchmarks/published: figures of the papers that our components give, and how far others are."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.published import Figure, conflicts, fineq, microscopiq
from benchmarks.published.gates import CELL_UM2, mac_pe, multiplier, temporal_pe
from microscopiq.target.arch import DEFAULT_ARCH, load_arch
from microscopiq.target.technology import load_technology

ROOT = Path(__file__).parents[1]
FIGURES = {f"{row.source} {row.what}": row for row in microscopiq.figures()}


def paper(what: str) -> Figure:
    return FIGURES[what]


@pytest.mark.parametrize("row", [*microscopiq.figures(), *fineq.figures()], ids=lambda r: r.what)
def test_held_figures_hold_and_others_say_why(row):
    assert row.holds, f"{row.what}: {row.rebuilt} for {row.published}"
    assert row.note
    if row.within is None:
        assert any(c.isdigit() for c in row.note) or "fp16" in row.note, row.note


def test_table_5_parts():
    """Sums of Table 5 (A4); the paper prints 0.216, 0.011 and 0.012 mm2."""
    sums = {design: microscopiq.parts_um2(design) for design in microscopiq.TABLE_5}
    assert sums == pytest.approx({"GOBO": 156036.0, "OliVe": 11468.93, "MicroScopiQ": 12782.75})
    for design, (mm2, *_) in ((d, row[2]) for d, row in microscopiq.TABLE_5.items()):
        cut = int(sums[design] / 1e3) / 1e3  # to three digits
        assert (cut == mm2) == (design != "GOBO")


def test_table_5_overhead():
    """(204.68 + 0.22 x 4096) / 12782.75; 0.22 is rounded, so 8.47 to 8.83 % are possible."""
    row = paper("Table 5 MicroScopiQ: overhead")
    assert row.rebuilt == pytest.approx(100 * (204.68 + 0.22 * 4096) / 12782.75)
    assert 8.47 < row.published < 8.83
    assert paper("Table 5 OliVe: overhead").rebuilt == pytest.approx(
        100 * (1.86 * 128 + 2.47 * 64 + 0.68 * 1024) / 11468.93
    )


@pytest.mark.parametrize("design", ["OliVe", "MicroScopiQ"])
def test_the_overheads_parts_come_closest(design):
    parts, _, (_, printed, _) = microscopiq.TABLE_5[design]
    extra = [name for name in parts if name != "PE"]
    shares = {
        chosen: 100 * microscopiq.parts_um2(design, chosen) / microscopiq.parts_um2(design)
        for size in range(1, len(extra) + 1)
        for chosen in itertools.combinations(extra, size)
    }
    closest = min(shares, key=lambda chosen: abs(shares[chosen] - printed))
    assert set(closest) == set(microscopiq.OVERHEAD[design])


def test_table_5_density():
    """A5: the printed density times the area is 4.70 TOPS, 29 % of 2 x 2 x 4096 x 1 GHz."""
    row = paper("Table 5 MicroScopiQ: density")
    assert row.published / row.rebuilt == pytest.approx(367.51 * 0.01278275 / 16.384)
    assert row.published / row.rebuilt == pytest.approx(0.2867, abs=1e-4)
    assert "4.70 TOPS, 29%" in row.note


def test_more_recon_units():
    """Fig. 18a asks for 5 to 10 times what Table 5 gives a unit (204.68 + 20.45 um2)."""
    for units, published in microscopiq.FIG_18A.items():
        row = paper(f"Fig. 18a {units} ReCoN units")
        ours = 1 + (units - 1) * (204.68 + 20.45) / 12782.75
        assert row.rebuilt == pytest.approx(ours, abs=1e-4)
        assert 4.5 < (published - 1) / (ours - 1) < 10


def test_other_sizes():
    """n^2 x 3.04 + 105.78 + n log2 n x 204.68 / 384 + n (n - 1) / 2 x 20.45 / 2016 um2."""
    for size, log in ((8, 3), (16, 4), (128, 7)):
        row = paper(f"Fig. 17 {size}x{size}: area")
        ours = size**2 * 3.04 + 105.78 + size * log * 204.68 / 384
        ours += size * (size - 1) / 2 * 20.45 / 2016
        assert row.rebuilt == pytest.approx(ours, rel=1e-3)
        assert 1.1 < (row.published - ours) / size**2 < 1.55


def test_the_papers_shares_of_recon_need_something_shared():
    """F + R = 3 %, (F + 8 R) / (1 + 7 R) = 11 %: R = 1.28 %, F = 1.72 % of the whole."""
    r = (0.11 - 0.03) / (8 - 1 - 7 * 0.11)
    assert (r, 0.03 - r) == pytest.approx((0.0128, 0.0172), abs=1e-4)
    assert "1.28 %" in paper("Fig. 17 128x128: ReCoN, 1 unit(s)").note


def test_rtl_explains_what_was_synthesized_again():
    assert paper("PLENA MicroScopiQ 64x64 again").rebuilt == pytest.approx(0.1394, abs=2e-4)
    assert paper("PLENA density").rebuilt == pytest.approx(58.75, abs=0.1)
    assert paper("Table 5 PE").rebuilt == pytest.approx(0.18 * 15.9)


def test_a_recon_pass_beside_a_step_of_the_array():
    """(448 switches + 64 places) x 32 bits over 4096 multiply-accumulates; the paper's shares
    give 5.94 / 56.23 = 10.6 %."""
    add, hold, product = 0.000938, 0.0027, 0.00109
    mac = 32 * product + 32 * (add + hold) + 8 * hold
    ours = 32 * (448 * 0.00364 + 64 * 0.0054) / (4096 * mac)
    assert microscopiq.recon_pass_share() == pytest.approx(ours)
    assert ours == pytest.approx(0.089, abs=1e-3)


def test_cells_of_structures():
    assert multiplier(8, 8).counts == {"and": 64, "full_adder": 56}
    assert mac_pe(8).um2 == pytest.approx(
        64 * CELL_UM2["and"] + 88 * CELL_UM2["full_adder"] + 48 * CELL_UM2["flip_flop"]
    )
    widths = [mac_pe(bits).um2 for bits in range(1, 9)]
    assert widths == sorted(set(widths))
    assert temporal_pe().um2 < mac_pe(4).um2


def test_fineq_area():
    """No baseline is established; these are the explicit ones, -61.2 % lies among them."""
    shares = {
        (8, 8, False): 0.4461,
        (8, 8, True): 0.5415,
        (8, 16, True): 0.6009,
        (16, 16, True): 0.7731,
        (4, 8, True): 0.2861,
    }
    assert {key: fineq.saved(*key) for key in shares} == pytest.approx(shares, abs=1e-4)
    assert fineq.saved_fp16() == pytest.approx(0.5255, abs=1e-4)
    assert min(shares.values()) < fineq.AREA_SAVED / 100 < max(shares.values())


def test_fineq_energy():
    """Pulses of a Gaussian: P(|w| > s/2), and + P(|w| > 3s/2) + P(|w| > 5s/2) at 3 bits."""
    assert fineq.pulses_of_gaussian(1) == pytest.approx(0.4966, abs=1e-4)
    assert fineq.pulses_of_gaussian(3) == pytest.approx(0.5389, abs=1e-3)
    table = load_technology("nangate45")
    mac = 64 * 0.00313 + 32 * (0.00313 + 0.009) + 8 * 0.009
    assert fineq.mac_pj(table) == pytest.approx(mac)
    assert fineq.temporal_pj(table, 0.5) == pytest.approx(16 * (0.00313 + 0.009) + 8 * 0.009)
    free = fineq.temporal_pj(table, 0.5, gated=False)
    assert free == pytest.approx(16 * 0.00313 + 3 * 40 * 0.009) and free > mac
    ratios = [row.rebuilt for row in fineq.figures() if row.what == "energy efficiency"]
    assert all(ratio > fineq.EFFICIENCY for ratio in ratios[:-1]) and ratios[-1] < 1


@pytest.mark.slow
def test_slow_benchmark_prints_every_figure(tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, "-m", "benchmarks.area_energy", "--json", "--markdown", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    expected = len(microscopiq.figures()) + len(fineq.figures()) + 5
    figures, machines = page.read_text().split("\n## ")
    table = [line for line in figures.splitlines() if line.startswith("| ")]
    assert len(rows) == expected == len(table) - 1
    assert f"`{DEFAULT_ARCH}` | `ms4` |" in machines
    shares = [row["rebuilt"] for row in rows if row["source"] == "power"]
    assert all(0 <= share <= 100 for share in shares)


def test_conflicts_by_hand():
    """Two rows, each asking every second cycle: a quarter of cycles has both, one of two waits."""
    assert conflicts.conflicts(0.5, 2) == pytest.approx(0.25 / 1)
    assert conflicts.rows_flagged(0.5, 16) == 0.75
    share = conflicts.share_without_conflicts(0.03, 64, 64)
    asked = conflicts.rows_flagged(share, 64)
    assert conflicts.conflicts(asked, 64) == pytest.approx(0.03, abs=1e-5)


def test_the_default_machine_differs_in_what_outliers_and_weights_wait_for():
    changed = {name for name, _, _ in conflicts.differences(load_arch(DEFAULT_ARCH))}
    assert {"recon_units", "recon_waits", "weight_buses", "row_release"} <= changed
    assert not {"array_rows", "array_cols", "pe_weight_bits", "spad_bytes", "clock_mhz"} & changed
