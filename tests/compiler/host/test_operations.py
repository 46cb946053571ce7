"""compiler/host/operations.py, weights.py: what a function costs the host, counted by hand."""

import pytest
import tvm
from tvm import relax
from tvm.relax import op
from tvm.script import tirx as T

from microscopiq.compiler.host.operations import cost_of
from microscopiq.compiler.host.weights import DEAREST, DIVISION, FUNCTION, ROOT
from microscopiq.runtime.host_costs import Cost
from microscopiq.target.functions import FUNCTIONS
from tests.compiler import relax_modules as make


def cost(body, *shapes) -> Cost | None:
    """Return what the only function of a legalized operator costs."""
    steps = tvm.transform.Sequential(
        [relax.backend.DispatchSortScan(), relax.transform.LegalizeOps()]
    )
    with tvm.target.Target("llvm"):
        mod = steps(make.module(body, *shapes))
    (function,) = [mod[gv] for gv in mod.get_global_vars() if gv.name_hint != "main"]
    return cost_of(function)


def of(operator, **attrs):
    return lambda emit, *inputs: emit(operator(*inputs, **attrs))


INDICES = relax.const([3, 1], "int32")
X = (3, 4)


@pytest.mark.parametrize(
    ("body", "shapes", "operations", "macs", "elements"),
    [
        pytest.param(of(op.add), [X, X], 12, 0, 36, id="add"),
        # The row is read for each of the 3, but its bytes count once.
        pytest.param(of(op.add), [X, (4,)], 12, 0, 28, id="broadcast"),
        pytest.param(of(op.matmul), [(2, 3, 10), (10, 8)], 480, 480, 60 + 80 + 48, id="matmul"),
        pytest.param(
            of(op.nn.conv2d), [(1, 2, 6, 6), (4, 2, 3, 3)], 1152, 1152, 72 + 72 + 64, id="conv2d"
        ),
        pytest.param(of(op.exp), [(5,)], 5 * FUNCTION["exp"], 0, 10, id="exp"),
        pytest.param(of(op.divide), [(5,), (5,)], 5 * DIVISION, 0, 15, id="divide"),
        pytest.param(of(op.sqrt), [(5,)], 5 * (ROOT + 3), 0, 10, id="sqrt"),
        pytest.param(of(op.asin), [(5,)], 5 * DEAREST, 0, 10, id="a function without a row"),
        # Addresses aren't arithmetic.
        pytest.param(of(op.permute_dims), [X], 0, 0, 24, id="transpose"),
        # Of zeros beside an image none is read; whether it's one is a choice.
        pytest.param(of(op.nn.pad, pad_width=[1, 1, 0, 0]), [X], 20, 0, 12 + 20, id="pad"),
        pytest.param(of(op.sum, axis=1), [X], 12, 0, 15, id="sum"),
        # Of a table the rows that are looked up, and the indices.
        pytest.param(
            lambda emit, x: emit(op.take(x, INDICES, axis=0)), [(1000, 4)], 0, 0, 8 + 8 + 2,
            id="take",
        ),
    ],
)  # fmt: skip
def test_operators(body, shapes, operations, macs, elements):
    assert cost(body, *shapes) == Cost(operations, macs, 4 * elements)


def test_functions_are_the_machines_with_dear_divisions():
    exp, rsqrt = (FUNCTIONS[name].operations for name in ("exp", "rsqrt"))
    assert FUNCTION["exp"] == exp.total == 17 + 12 + 8 + 6
    assert FUNCTION["rsqrt"] == rsqrt.total - 2 + DIVISION + ROOT


@pytest.mark.parametrize("name", ["sort", "topk"])
def test_what_sorts_goes_through_its_arguments_again(name):
    body = of(op.sort) if name == "sort" else of(op.topk, k=3)
    results = 32 if name == "sort" else 12 + 12
    # 32 elements, so 5 passes.
    assert cost(body, (4, 8)) == Cost(None, 0, 5 * 4 * (32 + results))


def test_sizes_known_at_run_time():
    @T.prim_func(s_tir=True)
    def f(a: T.handle, b: T.handle):
        n = T.int64()
        x, y = T.match_buffer(a, (n,)), T.match_buffer(b, (n,))
        for i in range(n):
            y[i] = x[i] + T.float32(1)

    assert cost_of(f) is None


def test_a_loop_whose_end_is_data_counts_by_bytes():
    @T.prim_func(s_tir=True)
    def f(n: T.Buffer((1,), "int32"), x: T.Buffer((8,)), y: T.Buffer((8,))):
        for i in range(n[0]):
            y[i] = x[i] + T.float32(1)

    assert cost_of(f) == Cost(None, 0, 4 + 32 + 32)


def test_loops_in_loops_count_at_most():
    @T.prim_func(s_tir=True)
    def f(x: T.Buffer((8,)), y: T.Buffer((8,))):
        for i in range(8):
            for j in range(i + 1):
                y[i] = y[i] + x[j]

    assert cost_of(f) == Cost(64, 0, 64)


def test_of_branches_the_dearest():
    @T.prim_func(s_tir=True)
    def f(x: T.Buffer((8,)), y: T.Buffer((8,))):
        for i in range(8):
            if x[i] > T.float32(0):
                y[i] = x[i] / T.float32(3)
            else:
                y[i] = x[i] + T.float32(1)

    assert cost_of(f) == Cost(8 * (1 + DIVISION), 0, 64)


def test_a_chosen_value_computes_one_branch():
    @T.prim_func(s_tir=True)
    def f(x: T.Buffer((8,)), y: T.Buffer((8,))):
        for i in range(8):
            y[i] = T.if_then_else(x[i] > T.float32(0), T.exp(x[i]), x[i] + T.float32(1))

    assert cost_of(f) == Cost(8 * (2 + FUNCTION["exp"]), 0, 64)


def test_squares_are_no_products():
    @T.prim_func(s_tir=True)
    def f(x: T.Buffer((8,)), y: T.Buffer((1,))):
        for i in range(8):
            y[0] = y[0] + x[i] * x[i]

    assert cost_of(f) == Cost(8, 0, 36)


def test_names_for_values_are_values():
    @T.prim_func(s_tir=True)
    def f(x: T.Buffer((8,)), y: T.Buffer((8,))):
        for i in range(8):
            v: T.float32 = x[i] * T.float32(2)
            y[i] = v + v * v

    assert cost_of(f) == Cost(8 * 2, 0, 64)
