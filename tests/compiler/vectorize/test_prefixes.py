"""What follows from sizes alone: beginnings of constants, where they are that for all sizes."""

import numpy as np
import pytest
import tvm
from tvm import relax, te, tirx
from tvm.relax import op

from microscopiq import Session
from microscopiq.compiler.driver import build_host
from microscopiq.compiler.frontend.slices import with_plain_slices
from microscopiq.compiler.partition.graph import Graph, op_name
from microscopiq.compiler.passes.vectorize.prefixes import with_prefixes
from microscopiq.compiler.sizes import bounded, with_bounds
from microscopiq.target.errors import SimError
from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import compiled

MOST = 12
TABLE = relax.const(np.arange(60, dtype=np.float32).reshape(20, 3), "float32")


def sized(body) -> tvm.IRModule:
    """Return a module of rows whose number a call decides; `body` takes it, too."""
    rows = tirx.Var("rows", "int64")
    mod = make.module(lambda e, x: body(e, x, rows), (rows, 4))
    return tvm.IRModule(
        {"main": mod["main"].with_attr("tir_var_upper_bound", {"rows": MOST})}
        | {gv: each for gv, each in mod.functions.items() if gv.name_hint != "main"}
    )


def places(e, rows):
    return e(op.arange(0, rows, 1, dtype="int64"))


def column(e, values):
    return e(op.expand_dims(e(op.astype(values, "float32")), [1]))


def mask(e, x, rows):
    at = places(e, rows)
    seen = e(op.less_equal(e(op.expand_dims(at, [0])), e(op.expand_dims(at, [1]))))
    far = e(op.where(seen, relax.const(0.0), relax.const(-9.0)))
    return e(op.add(e(op.sum(far, axis=[1], keepdims=True)), x))


def behind_one(e, x, rows):
    """Places behind a first number, as a mask of packed sequences has them."""
    at = places(e, rows)
    both = e(op.concat([relax.const(np.array([-1]), "int64"), at], axis=0))
    steps = e(op.strided_slice(both, [0], [0], [rows], [1]))
    return e(op.add(column(e, e(op.cumsum(steps, axis=0))), x))


def angles(e, x, rows):
    at = column(e, places(e, rows))
    return e(op.multiply(e(op.cos(e(op.multiply(at, relax.const(0.3))))), x))


def embedded(e, x, rows):
    found = e(op.take(TABLE, places(e, rows), axis=0))
    return e(op.add(e(op.sum(found, axis=[1], keepdims=True)), x))


def indexed(e, x, rows):
    at = e(op.add(places(e, rows), relax.const(1, "int64")))
    found = e(op.index_tensor(TABLE, (at,)))
    return e(op.add(e(op.sum(found, axis=[1], keepdims=True)), x))


def backwards(e, x, rows):
    """The last place first: no beginning of what it is for more rows."""

    def turned(at):
        return te.compute((rows,), lambda i: at[rows - 1 - i], name="turned")

    at = places(e, rows)
    function = te.create_prim_func(
        [source := te.placeholder((rows,), "int64", name="at"), turned(source)], "int64"
    ).without_attr("global_symbol")
    gv = bb().add_func(function, "turned")
    found = e(relax.call_tir(gv, [at], relax.TensorType((rows,), "int64")))
    return e(op.add(column(e, found), x))


def bb():
    return relax.BlockBuilder.current()


def from_the_end(e, x, rows):
    at = e(op.subtract(places(e, rows), relax.const(2, "int64")))
    found = e(op.take(places(e, rows), at, axis=0, mode="wrap"))
    return e(op.add(column(e, found), x))


def before_the_first(e, x, rows):
    at = e(op.subtract(places(e, rows), relax.const(1, "int64")))
    return e(op.add(column(e, e(op.index_tensor(places(e, rows), (at,)))), x))


def sized_first(e, x, rows):
    at = places(e, rows)
    both = e(op.concat([at, relax.const(np.array([50]), "int64")], axis=0))
    return e(op.add(e(op.max(column(e, both), axis=[0], keepdims=True)), x))


def begun(mod: tvm.IRModule) -> list[str]:
    """Return the operators of a module after the pass, calls of beginnings as such."""
    with with_bounds(bounded(mod, {})):
        mod = with_prefixes(with_plain_slices(mod))
    return [
        call.args[0].name_hint if op_name(call) == "call_tir" else op_name(call)
        for _, call in Graph(relax.transform.DeadCodeElimination()(mod)["main"]).order
    ]


@pytest.mark.parametrize("body", [mask, behind_one, angles, embedded, indexed])
def test_all_that_follows_from_sizes_is_a_beginning(body):
    mod = sized(body)
    assert "beginning" in begun(mod)
    assert not {"arange", "cumsum", "cos", "take", "index_tensor", "where"} & set(begun(mod))
    state = compiled(mod, "tiny-4x4")
    assert not state.host
    session = Session(build_host(state.mod))
    for rows in (1, 5, MOST):
        x = make.numbers(rows, 4)
        (wanted,) = make.run_llvm(mod, [x])
        assert session.run(x).outputs[0].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("body", [backwards, from_the_end, sized_first])
def test_what_ends_otherwise_for_other_sizes_is_computed(body):
    mod = sized(body)
    kept = begun(mod)
    # Places themselves are beginnings; what is made of them isn't.
    assert {"turned", "take", "concat"} & set(kept)
    session = Session(build_host(compiled(mod, "tiny-4x4").mod))
    for rows in (2, 5, MOST):
        x = make.numbers(rows, 4)
        (wanted,) = make.run_llvm(mod, [x])
        assert session.run(x).outputs[0].tobytes() == wanted.tobytes()


def test_what_no_shape_tells_stays_on_the_host_with_its_reason():
    def total(e, x, rows):
        return e(op.add(e(op.sum(places(e, rows), axis=[0])), e(op.astype(x, "int64"))))

    state = compiled(sized(total), "tiny-4x4")
    assert [(row.operator, row.reason) for row in state.host] == [
        ("beginning_sum", "no argument's shape tells the size 'rows'")
    ]
    session = Session(build_host(state.mod))
    for rows in (1, MOST):
        x = np.full((rows, 4), 2, np.float32)
        wanted = x.astype(np.int64) + sum(range(rows))
        np.testing.assert_array_equal(session.run(x).outputs[0], wanted)


def test_indices_outside_are_left_to_the_machine_to_refuse():
    mod = sized(before_the_first)
    assert "index_tensor" in begun(mod)
    session = Session(build_host(compiled(mod, "tiny-4x4").mod))
    with pytest.raises(SimError, match="index -1 of row 0"):
        session.run(make.numbers(3, 4))


def test_without_bounds_nothing_changes():
    mod = sized(mask)
    mod = tvm.IRModule({"main": mod["main"].without_attr("tir_var_upper_bound")})
    assert "arange" in begun(mod)
