"""Checks of indices on the machine: right ones as the host gives them, others refused by name."""

import numpy as np
import pytest
from tvm.relax import op

import microscopiq as mq
from microscopiq import Session
from microscopiq.compiler.driver import build_host
from microscopiq.compiler.frontend.repair import repair
from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check, compiled

TABLE = make.const(6, 5, 7, seed=3)
GATHERS = {
    "take": (lambda e, x: e(op.take(TABLE, x, axis=0)), (2, 3), [6]),
    "one": (lambda e, x: e(op.take(TABLE, x, axis=1)), (1,), [5]),
    "number": (lambda e, x: e(op.take(TABLE, x, axis=1)), (), [5]),
    "gather_nd": (lambda e, x: e(op.gather_nd(TABLE, x)), (4, 2), [6, 5]),
}


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "int64") for name in GATHERS), ("take", "int32")]
)
def test_indices_from_both_ends(name, dtype):
    body, shape, sizes = GATHERS[name]
    mod = repair(make.module(body, shape, dtype=dtype))
    low, high = -np.array(sizes), np.array(sizes)
    given = np.random.default_rng(0).integers(low, high, (*shape[:-1], shape[-1] if shape else 1))
    given = np.broadcast_to(given, shape or (1,)).reshape(shape).astype(dtype)
    state, found = check(mod, "tiny-4x4", [given])
    assert found.handovers == 2
    session = Session(build_host(state.mod))
    for place in {0, -1}:
        for wrong in (sizes[place], -sizes[place] - 1):
            bad = given.copy()
            bad.reshape(-1)[place] = wrong
            with pytest.raises(mq.InputError, match=f"index into .* is outside; .* given {wrong}"):
                session.run(bad)


def test_indices_of_other_types_are_checked_on_the_host():
    mod = repair(make.module(GATHERS["take"][0], (2, 3), dtype="uint8"))
    assert [(each.operator, each.times) for each in compiled(mod, "tiny-4x4").host] == [
        ("check_indices", 1)
    ]


def test_a_check_is_a_layer_that_says_what_it_is_of():
    mod = repair(make.module(GATHERS["take"][0], (2, 3), dtype="int64"))
    layers = [row.layer for row in compiled(mod).layers.values()]
    assert sorted(layers) == [
        "an index into a constant float32[6, 5, 7] (take), from input 'x0'",
        "take",
    ]
