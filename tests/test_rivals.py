"""benchmarks/rivals.py: which machines stand beside each other, and what their ratios say."""

import pytest

from benchmarks import rivals
from microscopiq.target.arch import DEFAULT_ARCH


def row(machine: str, recipe: str, cycles: int, buses: int = 1) -> dict:
    return {"case": "x", "machine": machine, "recipe": recipe, "buses": buses,
            "cycles": cycles, "energy_uj": cycles / 10}  # fmt: skip


def test_ratios_are_to_a_rival_whose_planes_are_loaded_alike():
    rows = [
        row("ours", "microscopiq-w4a4", 100), row("ours", "microscopiq-w2a4", 50),
        row("fast", "microscopiq-w4a4", 20, 4),
        row("olive", "olive-w4a4", 100), row("olive", "int8", 400),
        row("olive, 8 buses", "olive-w4a4", 25, 8), row("olive, 8 buses", "int8", 85, 8),
    ]  # fmt: skip
    one, two, fast = rivals.compared(rows)
    assert (one["faster"], one["faster_8"], one["published"]) == (1.0, 4.0, 1.50)
    # 1 + 3 s = 1.5 and 2 (1 + 3 s) = 2.47.
    assert one["wide_share"] == pytest.approx(1 / 6)
    assert two["wide_share"] == pytest.approx((2.47 / 2 - 1) / 3)
    assert (fast["faster"], fast["less_energy"]) == (1.25, 1.25)
    assert rivals.ratio_cells({**fast, "wide_share": -0.1})[-1] == "none"


def test_machines_of_both_are_compared():
    names = [(arch.name, recipe) for arch, recipe in rivals.contenders()]
    assert ("olive-64x64", "olive-w4a4") in names and ("olive-64x64", "int8") in names
    assert any(name == DEFAULT_ARCH for name, _ in names)
    assert len(set(names)) == len(names) >= 10


def test_a_layer_is_timed_without_weights():
    run = rivals._layer(rivals.Case("one token", tokens=1))
    arch, recipe = next(c for c in rivals.contenders() if c[1] == rivals.RIVAL)
    result, quality = run(arch, recipe)
    assert quality is None and result.cycles > result.macs / 4096
