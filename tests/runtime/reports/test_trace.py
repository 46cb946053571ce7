"""runtime/trace*.py: the timeline adds up to the result, and says where each cycle belongs."""

import dataclasses
import gzip
import json
from itertools import pairwise

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq import Session
from microscopiq.runtime.reports.trace import CALLS_TRACK, CHANNEL
from microscopiq.runtime.reports.trace_code import Listing
from microscopiq.runtime.reports.trace_spans import NO_PC, SPAN, UNITS, decode
from microscopiq.runtime.results.causes import BUSY, CAUSES, IDLE
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError, InputError
from microscopiq.target.isa.spec import Unit
from tests.compiler import relax_modules as make

TINY = load_arch("tiny-4x4")
MACHINES = {
    "tiny": (TINY, "microscopiq-w4a8"),
    "int8": (TINY, "int8"),
    # Cycles of 1.43 ns: both ends of a slice are rounded.
    "700MHz": (dataclasses.replace(TINY, clock_mhz=700), "microscopiq-w2a8"),
    "3GHz": (dataclasses.replace(TINY, clock_mhz=3000), "int4"),
    "alone": (dataclasses.replace(TINY, overlap=0), "microscopiq-w4a8"),
    "scalesim": (load_arch("ws-32x32-ideal"), "int8"),
    "64x64": (load_arch("microscopiq-64x64"), "microscopiq-w4a8"),
}


def model(emit, x, image, key):
    """Return one layer of each kind, with an operand that is quantized at run time."""
    y, z = make.mlp(emit, x), make.relu(emit, make.conv(emit, image, 6, padding=1))
    return relax.Tuple([y, z, emit(op.matmul(x, key))])


@pytest.fixture(scope="module", params=MACHINES)
def traced(request, tmp_path_factory):
    """Return a session, its inputs, the result of a traced run and the parsed timeline."""
    arch, recipe = MACHINES[request.param]
    mod = make.module(model, (2, 3, 10), make.IMAGE, (2, 10, 7))
    inputs = make.inputs_of(mod)
    session = Session(make.compiled(mod, recipe, arch, graph=False).executable)
    path = tmp_path_factory.mktemp("trace") / "t.json"
    result = session.run(*inputs, trace=path)
    return session, inputs, result, json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def spans(traced):
    """Return the decoded spans of each call."""
    session, inputs, _, _ = traced
    session.native["microscopiq.reset"]()
    session.native["microscopiq.set_trace"](True)
    session.vm["main"](*inputs_as_tensors(inputs))
    session.native["microscopiq.set_trace"](False)
    return [decode(bytes(raw)) for raw in session.native["microscopiq.traces"]()]


def inputs_as_tensors(inputs):
    import tvm

    return [tvm.runtime.tensor(value) for value in inputs]


def slices(trace, category=None):
    return [
        event
        for event in trace["traceEvents"]
        if event["ph"] == "X" and category in (None, event["cat"])
    ]


def nanoseconds(event):
    start = round(1000 * event["ts"])
    return start, start + round(1000 * event["dur"])


def test_tracing_changes_nothing(traced):
    session, inputs, result, _ = traced
    plain = session.run(*inputs)
    assert plain.to_json() == result.to_json()
    make.assert_equal_bits(plain.outputs, result.outputs)
    assert list(session.native["microscopiq.traces"]()) == []


def test_spans_are_the_records_cycles(traced, spans):
    result = traced[2]
    assert len(spans) == len(result.calls) > 4
    for call, found in zip(result.calls, spans, strict=True):
        for unit in UNITS:
            own = found[found["unit"] == unit]
            lengths = own["end"] - own["begin"]
            parts = call["units"][unit.name.lower()]
            for number, cause in enumerate(CAUSES):
                wanted = 0 if cause == IDLE else parts[cause]
                assert lengths[own["cause"] == number].sum() == wanted, (call["name"], unit, cause)


def test_no_two_spans_of_a_unit_overlap(traced, spans):
    for call, found in zip(traced[2].calls, spans, strict=True):
        assert (found["end"] > found["begin"]).all()
        assert (found["begin"] >= 0).all() and (found["end"] <= call["cycles"]).all()
        for unit in UNITS:
            own = found[found["unit"] == unit]
            assert (own["begin"][1:] >= own["end"][:-1]).all(), (call["name"], unit)


def test_busy_spans_belong_to_instructions_of_their_unit(traced, spans):
    program = traced[0].program
    seen = set()
    for call, found in zip(traced[2].calls, spans, strict=True):
        function = program.functions[call["name"]]
        unit_of = {i.mnemonic: i.unit for i in function.code}
        listing = Listing(function)
        for span in found[found["cause"] == 0]:
            step = listing.steps[int(span["pc"])]
            assert unit_of[step.mnemonic] == span["unit"]
            assert len(step.loops) == span["depth"]
            for loop in step.loops:
                assert 0 <= span["counters"][loop.level] < loop.count
            seen.add(step.mnemonic)
    assert {"matmul", "preload", "preload.rows"} <= seen


def test_timeline_adds_up_to_the_result(traced):
    _, _, result, trace = traced
    names = {
        event["tid"]: event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }
    assert list(names.values()) == ["layers", *(unit.name.lower() for unit in UNITS)]
    found: dict[tuple, int] = {}
    for event in slices(trace):
        if event["tid"] != CALLS_TRACK:
            key = names[event["tid"]], event["cat"]
            found[key] = found.get(key, 0) + event["args"]["cycles"]
    for unit, parts in result.unit_cycles.items():
        for cause, cycles in parts.items():
            assert found.get((unit, cause), 0) == (0 if cause == IDLE else cycles), (unit, cause)


def test_slices_of_a_track_follow_one_another(traced):
    _, _, result, trace = traced
    clock = trace["otherData"]["shown_mhz"]
    assert clock == min(1000, trace["otherData"]["clock_mhz"])
    ends: dict[int, int] = {}
    for event in sorted(slices(trace), key=lambda event: event["ts"]):
        begin, end = nanoseconds(event)
        exact = event["args"]["begin"]
        assert abs(begin - 1000 * exact / clock) <= 0.5
        assert abs(end - 1000 * (exact + event["args"]["cycles"]) / clock) <= 0.5
        if event["cat"] != "tile":
            assert begin >= ends.get(event["tid"], 0)
            ends[event["tid"]] = end
    assert max(ends.values()) == ends[CALLS_TRACK]


def test_layers_are_the_calls_in_order(traced):
    _, _, result, trace = traced
    layers = slices(trace, "layer")
    assert [event["name"] for event in layers] == [call["layer"] for call in result.calls]
    assert [event["args"]["cycles"] for event in layers] == [c["cycles"] for c in result.calls]
    assert [event["args"]["function"] for event in layers] == [c["name"] for c in result.calls]
    starts = np.cumsum([0, *(call["cycles"] for call in result.calls)])
    assert [event["args"]["begin"] for event in layers] == list(starts[:-1])


def test_tiles_nest_in_layers_and_in_one_another(traced):
    _, _, result, trace = traced
    open_slices: list[tuple[int, int]] = []
    tiles = [event for event in slices(trace) if event["tid"] == CALLS_TRACK]
    for event in tiles:
        begin = event["args"]["begin"]
        end = begin + event["args"]["cycles"]
        while open_slices and open_slices[-1][1] <= begin:
            open_slices.pop()
        assert all(first <= begin and end <= last for first, last in open_slices)
        assert (event["cat"] == "layer") == (not open_slices)
        open_slices.append((begin, end))
    names = {event["name"].rsplit(" #", 1)[0] for event in slices(trace, "tile")}
    assert "array rows" in names or traced[0].program.arch_name != "tiny-4x4"
    for event in slices(trace, "tile"):
        assert 0 <= int(event["name"].rsplit("#", 1)[1]) < event["args"]["of"]


def test_waits_are_named_by_cause_and_work_by_mnemonic(traced):
    _, _, result, trace = traced
    for event in slices(trace):
        if event["cat"] in CAUSES and event["cat"] != BUSY:
            assert event["name"] == CAUSES[event["cat"]].slice
            assert event["cname"] == CAUSES[event["cat"]].trace_color
        elif event["cat"] == BUSY:
            assert event["name"] == event["args"]["instruction"]
            assert "cname" not in event
    assert any("array rows #" in event["args"].get("tile", "") for event in slices(trace, BUSY))
    counters = [event for event in trace["traceEvents"] if event["ph"] == "C"]
    unlimited = not traced[0].program.arch_numbers["dram_bandwidth_bytes_per_cycle"]
    assert {event["name"] for event in counters} == (set() if unlimited else {CHANNEL})
    assert all(0 <= event["args"]["%"] <= 100 for event in counters)


def test_causes_are_those_of_the_core(traced):
    for call in traced[2].calls:
        for parts in call["units"].values():
            assert list(parts) == list(CAUSES)
    letters = [cause.letter for cause in CAUSES.values()]
    assert len(set(letters)) == len(letters) and all(len(letter) == 1 for letter in letters)


@pytest.mark.parametrize("traced", ["tiny"], indirect=True)
def test_compressed_timeline_is_the_same(traced, tmp_path):
    session, inputs, _, trace = traced
    path = tmp_path / "t.json.gz"
    session.run(*inputs, trace=path)
    first = path.read_bytes()
    assert json.loads(gzip.decompress(first)) == trace
    session.run(*inputs, trace=path)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("traced", ["tiny"], indirect=True)
def test_timelines_that_cant_be_written(traced, tmp_path):
    session, inputs, _, _ = traced
    with pytest.raises(ConfigError, match=r"no folder that can be written: .*nowhere"):
        session.run(*inputs, trace=tmp_path / "nowhere" / "t.json")
    with pytest.raises(ConfigError, match="a folder has that name"):
        session.run(*inputs, trace=tmp_path)


@pytest.mark.parametrize("traced", ["tiny"], indirect=True)
def test_a_failed_run_stops_recording(traced, tmp_path):
    session, inputs, result, _ = traced
    broken = inputs[0].copy()
    broken[0, 0, 0] = np.inf
    with pytest.raises(Exception, match="non-finite"):
        session.run(broken, *inputs[1:], trace=tmp_path / "t.json")
    assert list(tmp_path.iterdir()) == []
    session.vm["main"](*inputs_as_tensors(inputs))
    assert len(session.native["microscopiq.traces"]()) < len(result.calls)


def test_a_model_without_a_program_has_no_timeline(tmp_path):
    mod = make.module(make.relu, (2, 3))
    session = Session(make.compiled(mod, vector=False).executable)
    assert not session.program.functions
    with pytest.raises(InputError, match="no timeline: nothing of this model runs on the array"):
        session.run(*make.inputs_of(mod), trace=tmp_path / "t.json")


def span(begin, end, unit=Unit.ARRAY, cause=0, pc=8, counters=()):
    return (begin, end, unit, cause, pc, len(counters), (*counters, *[0] * (8 - len(counters))))


def test_decode_joins_neighbours_that_say_the_same():
    raw = np.array(
        [
            span(10, 20, cause=1),
            span(0, 10, cause=1),
            span(20, 25, cause=1, counters=(1,)),
            span(25, 30, cause=2, counters=(1,)),
            span(31, 40, cause=2, counters=(1,)),
            span(20, 22, unit=Unit.VECTOR, cause=1),
            span(40, 41, pc=NO_PC),
        ],
        SPAN,
    ).tobytes()
    found = decode(raw)
    assert found[["begin", "end", "unit", "cause"]].tolist() == [
        (0, 20, Unit.ARRAY, 1),
        (20, 25, Unit.ARRAY, 1),
        (20, 22, Unit.VECTOR, 1),
        (25, 30, Unit.ARRAY, 2),
        (31, 40, Unit.ARRAY, 2),
        (40, 41, Unit.ARRAY, 0),
    ]
    assert len(decode(b"")) == 0
    assert all(first <= second for first, second in pairwise(found["begin"]))
