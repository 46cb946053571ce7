"""runtime/reports/roofline.py: points under their roofs, and what is refused."""

import sys
from xml.etree import ElementTree

import pytest
from tvm import relax
from tvm.relax import op

from microscopiq import Session
from microscopiq.runtime.reports.roofline import check_plot, write_roofline
from microscopiq.runtime.reports.roofline_points import VECTOR, groups, points, short_name
from microscopiq.runtime.results.causes import CAUSES, largest_stall
from microscopiq.runtime.results.result import total
from microscopiq.target.errors import ConfigError, InputError
from tests.compiler import relax_modules as make

pytest.importorskip("matplotlib", reason="pip install 'microscopiq[plot]'")


def model(emit, x, key):
    softmax = emit(op.nn.softmax(key))
    return relax.Tuple([make.mlp(emit, x), emit(op.matmul(x, key)), softmax])


@pytest.fixture(scope="module", params=["microscopiq-64x64", "ws-32x32-ideal"])
def ran(request):
    """Return a session and a result; the second machine's bandwidth is unlimited."""
    mod = make.module(model, (2, 3, 10), (2, 10, 7))
    session = Session(make.compiled(mod, "int8", request.param).executable)
    return session, session.run(*make.inputs_of(mod))


def points_of(session, result):
    return points(result, session.program.arch_numbers["vector_lanes"])


def test_points_lie_under_the_roofs(ran):
    session, result = ran
    bandwidth = session.program.arch_numbers["dram_bandwidth_bytes_per_cycle"]
    found = points_of(session, result)
    assert [point.layer for point in found] == [c["layer"] or c["name"] for c in result.calls]
    assert {point.weight_format for point in found} == {"int8", VECTOR}
    for point, call in zip(found, result.calls, strict=True):
        work = call["macs"] or call["vector_ops"]
        assert 0 < point.speed <= (point.peak or work)
        if bandwidth:
            assert point.speed <= point.intensity * bandwidth
        assert point.intensity == work / sum(call["dram_bytes"].values())
        parts = call["units"]["array" if call["macs"] else "vector"]
        assert parts[point.stall] == max(value for key, value in parts.items() if key != "busy")


def test_a_function_is_as_much_work_as_cycles_of_a_lane(ran):
    session, result = ran
    (point,) = [p for p in points_of(session, result) if "softmax" in p.layer]
    assert point.peak == session.program.arch_numbers["vector_lanes"]
    elements = 2 * 10 * 7
    work = point.intensity * 2 * 4 * elements
    # A maximum, a subtraction, a power (a function), a sum and a quotient of each element.
    each = session.program.arch_numbers["vector_function_cycles"] + 3
    assert work > elements * each


def test_largest_stall_is_never_work():
    parts = dict.fromkeys(CAUSES, 0) | {"busy": 100, "recon": 3, "idle": 2}
    assert largest_stall(parts) == "recon"


def test_groups_leave_numbers_out(ran):
    found = points_of(*ran)
    grouped = groups(found)
    multiply = {n: len(same) for n, same in grouped.items() if same[0].weight_format != VECTOR}
    assert multiply == {"linear*": 3, "attention*": 1}
    assert sum(len(same) for same in grouped.values()) == len(found)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("bert.encoder.layer.*.attention.self.query", "attention.self.query"),
        ("block.*.*", "block.*.*"),
        ("layer*.*.conv*", "conv*"),
        ("linear*", "linear*"),
    ],
)
def test_labels_say_the_place_in_a_block(name, short):
    assert short_name(name) == short


def test_svg_names_roofs_and_layers(ran, tmp_path):
    session, result = ran
    path = tmp_path / "roofline.svg"
    write_roofline(path, result, session.program)
    first = path.read_bytes()
    text = "\n".join(part for part in ElementTree.fromstring(first).itertext() if part.strip())
    comments = first.decode()  # matplotlib draws text as paths and keeps it as comments
    for wanted in (
        "peak, int8",
        VECTOR,
        "linear*  ×3",
        "attention0",
        "int8",
        session.program.arch_name,
    ):
        assert wanted in comments + text
    limited = session.program.arch_numbers["dram_bandwidth_bytes_per_cycle"]
    assert ("DRAM: " in comments) == bool(limited)
    write_roofline(path, result, session.program)
    assert path.read_bytes() == first


def test_png_and_pdf(ran, tmp_path):
    session, result = ran
    for suffix, magic in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        write_roofline(tmp_path / f"r{suffix}", result, session.program)
        assert (tmp_path / f"r{suffix}").read_bytes().startswith(magic)


def test_plots_that_cant_be_made(ran, tmp_path, monkeypatch):
    session, _ = ran
    with pytest.raises(ConfigError, match=r"the name must end in \.svg, \.png, \.pdf"):
        check_plot(tmp_path / "r.jpg")
    with pytest.raises(ConfigError, match="no folder that can be written"):
        check_plot(tmp_path / "nowhere" / "r.svg")
    nothing = total([], None, None)
    with pytest.raises(InputError, match="no call of this run computes"):
        write_roofline(tmp_path / "r.svg", nothing, session.program)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"needs matplotlib: pip install 'microscopiq\[plot\]'"):
        check_plot(tmp_path / "r.svg")
    assert list(tmp_path.iterdir()) == []
