"""Whatever a program computes with, every view of it agrees: modes, NumPy, timeline, energy."""

import json

import pytest

from microscopiq import Session
from microscopiq.runtime import set_debug
from microscopiq.runtime.reports.roofline_points import points
from microscopiq.runtime.results.causes import BUSY, CAUSES
from microscopiq.runtime.results.energy import call_energy
from microscopiq.target.technology import load_technology
from tests.families import FAMILIES, TINY, compiled
from tests.numpy_calls import check_calls


@pytest.fixture(scope="module", params=FAMILIES)
def ran(request, tmp_path_factory):
    """Return a family, its executable, and what a run with a timeline gives."""
    family = FAMILIES[request.param]()
    executable = compiled(family).executable
    path = tmp_path_factory.mktemp("views") / "trace.json"
    result = Session(executable).run(family.given, trace=path)
    return family, executable, result, json.loads(path.read_text())


def assert_same(result, other):
    assert (result.cycles, result.unit_cycles) == (other.cycles, other.unit_cycles)
    for one, two in zip(result.outputs, other.outputs, strict=True):
        assert one.dtype == two.dtype and one.tobytes() == two.tobytes()


def test_what_is_on_the_host_has_a_time(ran):
    family, _, result, _ = ran
    assert tuple(call["name"] for call in result.host_calls) == family.host
    assert result.handovers == family.handovers
    assert bool(family.host) == bool(result.host_seconds)
    parts = result.seconds + result.host_seconds + result.handover_seconds
    assert result.latency_seconds == pytest.approx(parts)


def test_debug_mode_and_structural_mode_change_nothing(ran):
    family, executable, result, _ = ran
    assert_same(result, Session(executable, mode="structural").run(family.given))
    before = set_debug(False)
    try:
        assert_same(result, Session(executable).run(family.given))
    finally:
        set_debug(before)


def test_numpy_gives_the_same_bits(ran):
    family, executable, result, _ = ran
    seen = check_calls(executable, [family.given], TINY)
    assert seen == len({call["function"] for call in result.calls})


def test_the_timeline_has_every_cycle_and_instruction(ran):
    family, _, result, trace = ran
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    layers = [event for event in slices if event["cat"] == "layer"]
    assert [event["args"]["cycles"] for event in layers] == [c["cycles"] for c in result.calls]
    for cause in CAUSES:
        if cause != "idle":
            wanted = sum(parts[cause] for parts in result.unit_cycles.values())
            found = [event["args"]["cycles"] for event in slices if event["cat"] == cause]
            assert sum(found) == wanted, cause
    assert family.computes <= {event["name"] for event in slices if event["cat"] == BUSY}


def test_a_roofline_has_a_point_for_each_call(ran):
    result = ran[2]
    found = points(result, TINY.vector_lanes)
    computing = [call for call in result.calls if call["macs"] or call["vector_ops"]]
    assert len(found) == len(computing) > 0
    for point, call in zip(found, computing, strict=True):
        assert 0 < point.speed <= point.peak
        assert point.speed <= point.intensity * TINY.dram_bandwidth_bytes_per_cycle
        assert call["macs"] or point.weight_format == "vector unit"


def test_everything_costs_energy(ran):
    result, technology = ran[2], load_technology(TINY.technology)
    for call in result.calls:
        assert call["energy_pj"] == call_energy(call, TINY.numbers(), technology)
        assert call["energy_pj"]["dram"] > 0 and call["energy_pj"]["control"] > 0
        if not call["macs"]:
            assert call["energy_pj"]["vector"] > 0 and call["energy_pj"]["array"] == 0
    for component, energy in result.energy_pj.items():
        assert energy == pytest.approx(sum(call["energy_pj"][component] for call in result.calls))
