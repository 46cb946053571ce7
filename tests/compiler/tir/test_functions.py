"""The vector unit's functions as TIR: LLVM gives the bits of the NumPy reference."""

import numpy as np
import pytest
import tvm
from tvm import te, tirx, topi

from microscopiq.compiler.tir.functions import CALLS, other_calls, with_functions
from microscopiq.compiler.tir.functions.count import count_operations
from microscopiq.runtime.reference.functions import apply_function
from microscopiq.target.functions import FUNCTIONS
from tests.runtime.reference.test_functions import COUNT, as_bits, random_inputs

CALLED = [name for name in FUNCTIONS if name != "expm1"]
"""TVM has no operator for expm1."""


def llvm(functions: dict[str, tirx.PrimFunc], level: int):
    named = {name: f.with_attr("global_symbol", name) for name, f in functions.items()}
    target = tvm.target.Target({"kind": "llvm", "opt-level": level})
    return tvm.compile(tvm.IRModule(named), target=target)


def run(module, name: str, inputs, out: np.ndarray) -> np.ndarray:
    result = tvm.runtime.tensor(out)
    module[name](*map(tvm.runtime.tensor, inputs), result)
    return result.numpy()


def element_wise(name: str) -> tirx.PrimFunc:
    one = FUNCTIONS[name]
    inputs = [te.placeholder((COUNT,), dtype, f"x{i}") for i, dtype in enumerate(one.inputs)]

    def body(i):
        values = [tirx.convert(x[i]) for x in inputs]
        if "_to_" in name:
            return values[0].astype(one.output)
        return getattr(tirx, "abs" if name == "fabs" else name)(*values)

    return te.create_prim_func([*inputs, te.compute((COUNT,), body, "out")])


@pytest.mark.parametrize("level", [0, 2])
def test_llvm_gives_the_bits_of_the_reference(level):
    module = llvm({name: with_functions(element_wise(name)) for name in CALLED}, level)
    for name in CALLED:
        inputs = random_inputs(name, seed=2)
        expected = apply_function(name, *inputs)
        got = run(module, name, inputs, np.zeros(COUNT, FUNCTIONS[name].output))
        wrong = np.flatnonzero(as_bits(expected) != as_bits(got))
        assert not wrong.size, (name, [x[wrong[0]] for x in inputs], got[wrong[0]])


def test_round_is_to_even():
    x = te.placeholder((6,), "float32", "x")
    func = te.create_prim_func([x, te.compute((6,), lambda i: tirx.round(x[i]), "out")])
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4], np.float32)
    got = run(llvm({"f": with_functions(func)}, 0), "f", [values], np.zeros(6, np.float32))
    assert got.tolist() == [0, 2, 2, 0, -2, 2]


def test_softmax_keeps_its_blocks_and_its_order():
    x = te.placeholder((3, 50), "float32", "x")
    func = with_functions(te.create_prim_func([x, topi.nn.softmax(x)]))
    values = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32) * 8
    shifted = apply_function("exp", values - values.max(axis=1, keepdims=True))
    total = np.zeros((3, 1), np.float32)
    for column in range(50):
        total += shifted[:, column : column + 1]
    for level in (0, 2):
        got = run(llvm({"f": func}, level), "f", [values], np.zeros((3, 50), np.float32))
        assert np.array_equal(got, shifted / total)


def test_a_function_of_a_function_in_a_reduction_that_is_unrolled():
    x = te.placeholder((8, 4), "float32", "x")
    j = te.reduce_axis((0, 4), "j")
    out = te.compute((8,), lambda i: te.sum(tirx.tanh(tirx.exp(x[i, j])), axis=j), "out")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, out]))
    schedule.unroll(schedule.get_loops(schedule.get_sblock("out"))[-1])
    func = with_functions(schedule.mod["main"])
    values = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    expected = np.zeros(8, np.float32)
    for column in range(4):
        expected += apply_function("tanh", apply_function("exp", values[:, column]))
    got = run(llvm({"f": func}, 0), "f", [values], np.zeros(8, np.float32))
    assert np.array_equal(got, expected)


def test_nothing_is_read_where_a_condition_forbids_it():
    x = te.placeholder((4,), "float32", "x")
    inside = te.compute(
        (6,),
        lambda i: tirx.if_then_else(
            tirx.all(i >= 1, i < 5), tirx.exp(x[i - 1]), tirx.const(0.0, "float32")
        ),
        "out",
    )
    func = with_functions(te.create_prim_func([x, inside]))
    script = func.script()
    assert "T.if_then_else(1 <= v_i and v_i < 5, x[v_i - 1], T.float32(0.0))" in script
    values = np.arange(4, dtype=np.float32)
    got = run(llvm({"f": func}, 0), "f", [values], np.zeros(6, np.float32))
    assert np.array_equal(got, [0, *apply_function("exp", values), 0])


def test_what_has_no_function_stays_and_is_named():
    x = te.placeholder((4,), "float32", "x")
    func = te.create_prim_func([x, te.compute((4,), lambda i: tirx.sinh(x[i]) + x[i], "out")])
    tvm.ir.assert_structural_equal(with_functions(func), func)
    assert other_calls(func) == ["tirx.sinh"]
    double = te.placeholder((4,), "float64", "x")
    func = te.create_prim_func([double, te.compute((4,), lambda i: tirx.exp(double[i]), "out")])
    tvm.ir.assert_structural_equal(with_functions(func), func)


def test_operations_are_those_of_the_table():
    for name, one in FUNCTIONS.items():
        assert count_operations(name) == one.operations, name
    assert set(CALLS.values()) == {name for name in FUNCTIONS}
