"""benchmarks/trace_check.py: Perfetto's own trace processor reads a timeline without complaint."""

import gzip
import json

import pytest

import microscopiq as mq
from benchmarks.perfetto import MissingTool, node, query, ui_folder
from benchmarks.trace_check import check
from microscopiq.target.arch import DEFAULT_ARCH


@pytest.fixture(scope="module", autouse=True)
def perfetto():
    pytest.importorskip("perfetto", reason="pip install 'microscopiq[perfetto]'")
    try:
        ui_folder(), node()
    except MissingTool as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def timeline(library, images, tmp_path_factory):
    """Return the timeline of one run and its result."""
    path = tmp_path_factory.mktemp("perfetto") / "t.json.gz"
    return path, mq.Session(library).run(images, trace=path)


def test_perfetto_finds_every_cycle(timeline):
    path, result = timeline
    found, wrong = check(path, result, DEFAULT_ARCH)
    assert wrong == []
    assert found["layers"] == len(result.calls)
    idle = sum(parts["idle"] for parts in result.unit_cycles.values())
    assert found["unit_cycles_compared"] == len(result.unit_cycles) * result.cycles - idle


@pytest.mark.slow
def test_the_check_sees_mistakes(timeline, tmp_path):
    path, result = timeline
    events = json.loads(gzip.decompress(path.read_bytes()))
    waits = [e for e in events["traceEvents"] if e.get("cat") == "recon"]
    waits[0]["args"]["cycles"] += 1
    work = [e for e in events["traceEvents"] if e.get("cat") == "busy" and e["tid"] == 3]
    work[1]["ts"] = work[0]["ts"]
    work[1]["dur"] = work[0]["dur"]
    layers = [e for e in events["traceEvents"] if e.get("cat") == "layer"]
    layers[0]["name"] = "another"
    broken = tmp_path / "t.json"
    broken.write_text(json.dumps(events))
    _, wrong = check(broken, result, "microscopiq-8x8")
    text = "\n".join(wrong)
    assert "processes: " in text
    assert "the layers' slices aren't the calls" in text
    assert "recon: " in text and "cycles in slices" in text
    assert "('dma_in', 'busy'): a slice lies over another" in text


def test_counter_and_arguments_are_queries_away(timeline):
    path, result = timeline
    counters, tiles = query(
        path,
        "SELECT COUNT(*) AS n, MAX(value) AS most FROM counter",
        "SELECT DISTINCT EXTRACT_ARG(arg_set_id, 'args.note') AS note FROM slice "
        "WHERE name = 'matmul'",
    )
    assert counters[0]["n"] > len(result.calls) and 0 < counters[0]["most"] <= 100
    assert tiles == [{"note": "stream the rows"}]


def test_a_wrong_statement_is_an_error(timeline):
    with pytest.raises(RuntimeError, match="no such table: absent"):
        query(timeline[0], "SELECT * FROM absent")
