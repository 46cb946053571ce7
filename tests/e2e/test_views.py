"""Whatever a program computes with, every view of it agrees: modes, NumPy, timeline, energy."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import tvm
from tvm import relax, tirx
from tvm.relax import op

from microscopiq import Session
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.repair import repair
from microscopiq.compiler.options import Options
from microscopiq.runtime import set_debug
from microscopiq.runtime.reports.roofline_points import points
from microscopiq.runtime.results.causes import BUSY, CAUSES
from microscopiq.runtime.results.energy import call_energy
from microscopiq.target.arch import load_arch
from microscopiq.target.technology import load_technology
from tests.compiler import relax_modules as make
from tests.numpy_calls import check_calls

TINY = load_arch("tiny-4x4")
TABLE = make.const(6, 5, seed=3)
INDICES = np.int64([[3, -6, 0], [5, 5, -1]])


def functions(emit, x):
    """Return functions of the vector unit, and a row's sum."""
    for function in (op.sin, op.erf, op.exp, op.sigmoid, op.tanh):
        x = emit(function(x))
    return emit(op.nn.softmax(emit(op.power(x, relax.const(np.float32(1.7))))))


def integers(emit, x):
    """Return what has integer kernels: a product, a norm, a gate and a softmax."""
    normed = emit(op.nn.layer_norm(x, make.const(20, seed=1), make.const(20, seed=2), [-1]))
    return emit(op.nn.softmax(emit(op.nn.gelu(emit(op.matmul(normed, make.const(20, 9)))))))


def looked_up(emit, x):
    """Return rows by index, which are checked before, as numbers of a product."""
    return make.linear(emit, emit(op.take(TABLE, x, axis=0)), 4)


def scattered(emit, x):
    """Return what is computed under masks: cumulative sums, and updates by index."""
    total = emit(op.cumsum(x, 1))
    places = relax.const(np.int64([[2, -1, 0], [1, 1, 2]]), "int64")
    return emit(op.scatter_elements(total, places, make.const(2, 3, seed=5), 1, "add"))


def ranked(emit, x):
    """Return what is computed by ranks: an order, and its numbers."""
    order = emit(op.argsort(x, 1, False, "int64"))
    return relax.Tuple([order, emit(op.sort(x, 1, True))])


def handed_over(emit, x):
    """Return two products, and between them what the host does if it's told to."""
    return make.linear(emit, emit(op.nn.softmax(make.linear(emit, x, 8))), 8)


def sized() -> tvm.IRModule:
    """Return a module whose batch a call decides."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((tirx.Var("n", "int64"), 20), "float32"))
    attributes = {"tir_var_upper_bound": {"n": 6}, "num_input": 1}
    with builder.function("main", [x], attrs=attributes):
        with builder.dataflow():
            y = make.linear(builder.emit, x, 5)
            y = builder.emit_output(op.nn.softmax(builder.emit(op.tanh(y))))
        builder.emit_func_output(y)
    return builder.get()


@dataclass(frozen=True)
class Family:
    """A module, an input, and the instructions that it's there for."""

    mod: tvm.IRModule
    given: np.ndarray
    computes: set[str]
    recipe: str = "int8"
    vector: bool = True
    host: tuple[str, ...] = ()
    handovers: int = 2


FAMILIES = {
    "functions": lambda: Family(
        make.module(functions, (3, 20)), make.numbers(3, 20), {"map", "reduce"}
    ),
    "integers": lambda: Family(
        make.module(integers, (6, 20)),
        make.numbers(6, 20),
        {"map", "reduce", "drain.int", "fill.int"},
        "integer-only",
    ),
    "indices": lambda: Family(
        repair(make.module(looked_up, (2, 3), dtype="int64")), INDICES, {"map", "dma.gather"}
    ),
    "scatter": lambda: Family(make.module(scattered, (2, 3)), make.numbers(2, 3), {"map"}),
    "ranks": lambda: Family(make.module(ranked, (3, 7)), make.numbers(3, 7), {"map", "reduce"}),
    "host": lambda: Family(
        make.module(handed_over, (3, 20)),
        make.numbers(3, 20),
        {"matmul", "quant"},
        vector=False,
        host=("softmax",),
        handovers=4,
    ),
    "sizes": lambda: Family(sized(), make.numbers(4, 20), {"map", "reduce"}, host=("shape_func",)),
}


@pytest.fixture(scope="module", params=FAMILIES)
def ran(request, tmp_path_factory):
    """Return a family, its executable, and what a run with a timeline gives."""
    family = FAMILIES[request.param]()
    samples = [(make.numbers(6, 20, seed=n),) for n in range(3)]
    calibration = samples if family.recipe == "integer-only" else None
    options = Options(family.recipe, TINY, calibration=calibration, vector=family.vector)
    executable = compile_model(family.mod, options).executable
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
