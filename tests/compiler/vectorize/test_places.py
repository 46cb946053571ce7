"""What depends on where an element is: masks, interpolation, and rows that an index says."""

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq import Session
from microscopiq.compiler.driver import build_host, compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.verify import _Reference, verify_layers
from microscopiq.target.errors import SimError
from microscopiq.target.isa.program import Argument, Function
from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check, compiled


def const(*values, dtype="int64"):
    return relax.const(np.array(values, dtype), dtype)


def causal(emit, x):
    """A softmax that sees no later token; the mask is a constant of the module."""
    rows, columns = (emit(op.reshape(emit(op.arange(9)), shape)) for shape in ((9, 1), (1, 9)))
    seen = emit(op.less_equal(columns, rows))
    return emit(op.nn.softmax(emit(op.where(seen, x, relax.const(-1e9, "float32"))), -1))


def resized(method: str, transform: str):
    return lambda e, x: e(
        op.image.resize2d(x, (11, 9), method=method, coordinate_transformation_mode=transform)
    )


PLACES = {
    "causal": (causal, (2, 9, 9)),
    "triangle": (lambda e, x: e(op.tril(x)), (2, 9, 9)),
    "bilinear": (resized("linear", "half_pixel"), (1, 3, 7, 5)),
    "nearest": (resized("nearest_neighbor", "asymmetric"), (1, 3, 7, 5)),
    "rows": (lambda e, x: e(op.take(x, const(3, 0, 2, 2), axis=1)), (2, 5, 7)),
    "columns": (lambda e, x: e(op.take(x, const(3, 0, 2, 2), axis=2)), (2, 5, 7)),
    "one row": (lambda e, x: e(op.take(x, const(4), axis=1)), (2, 5, 7)),
    "last axis but one, of four": (lambda e, x: e(op.take(x, const(1, 0), axis=2)), (2, 3, 2, 7)),
}


@pytest.mark.parametrize("arch", ["microscopiq-64x64", "tiny-4x4"])
@pytest.mark.parametrize("name", PLACES)
def test_places(name, arch):
    build, shape = PLACES[name]
    check(make.module(build, shape), arch)


def of_ids(body, shape=(2, 6), dtype="int64"):
    return make.module(body, shape, dtype=dtype)


TABLE = make.const(11, 40, seed=3)


def embedded(emit, ids):
    """Words and positions, and a mean of the words that aren't padding, as sentence models do."""
    words = emit(op.take(TABLE, ids, axis=0))
    there = emit(op.astype(emit(op.not_equal(ids, const(0))), "float32"))
    there = emit(op.expand_dims(there, -1))
    total = emit(op.sum(emit(op.multiply(words, there)), [1]))
    return emit(
        op.divide(total, emit(op.maximum(emit(op.sum(there, [1])), relax.const(1e-9, "float32"))))
    )


INTEGERS = {
    "embedding": lambda e, x: e(op.take(TABLE, x, axis=0)),
    "from the end": lambda e, x: e(
        op.take(TABLE, e(op.where(e(op.less(x, const(3))), e(op.add(x, const(8))), x)), axis=0)
    ),
    "mean of words": embedded,
    "arithmetic": lambda e, x: e(
        op.subtract(e(op.multiply(x, const(3))), e(op.floor_divide(x, const(-2))))
    ),
    "modulo": lambda e, x: e(op.floor_mod(e(op.subtract(x, const(5))), const(3))),
    "truth": lambda e, x: e(
        op.logical_or(
            e(op.logical_not(e(op.greater(x, const(4))))), e(op.equal(x, const(9)))
        )
    ),
    "numbers": lambda e, x: e(op.astype(x, "float32")),
    "bytes": lambda e, x: e(op.astype(e(op.subtract(x, const(300))), "int8")),
    "largest": lambda e, x: e(op.max(x, [1])),
    "there and back": lambda e, x: e(
        op.astype(e(op.multiply(e(op.astype(x, "float32")), relax.const(-1.7, "float32"))), "int64")
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name, dtype):
    def body(emit, x):
        return INTEGERS[name](emit, x if dtype == "int64" else emit(op.astype(x, "int64")))

    ids = np.array([[3, 0, 10, 9, 1, 1], [2, 7, 0, 0, 5, 4]], dtype)
    check(of_ids(body, dtype=dtype), inputs=[ids])


@pytest.mark.parametrize(
    "name, ids, says",
    [
        ("numbers", [[0, 1, 2, 3, 4, 1 << 40], [0] * 6], str(1 << 40)),
        ("arithmetic", [[1 << 30, 1, 2, 3, 4, 5], [0] * 6], "doesn't fit 32 bits"),
    ],
)
def test_what_has_no_result_is_an_error(name, ids, says):
    session = Session(build_host(compiled(of_ids(INTEGERS[name])).mod))
    with pytest.raises(SimError, match=says):
        session.run(np.array(ids, np.int64))


def test_each_call_is_held_against_llvm_whatever_its_types():
    mod = of_ids(INTEGERS["embedding"])
    checks = verify_layers(compile_model(mod, Options("int8")), [np.zeros((2, 6), np.int64)])
    assert checks and not any(check.different for check in checks)
    mod = of_ids(INTEGERS["truth"])
    checks = verify_layers(compile_model(mod, Options("int8")), [np.zeros((2, 6), np.int64)])
    assert checks and not any(check.different for check in checks)


def test_the_reference_gets_tensors_of_the_shapes_that_the_machine_had():
    """NumPy makes a tensor without dimensions one of a single element where it copies it."""
    arguments = (Argument("x", "float32", (2, 6)), Argument("factor", "float32", ()))
    function = Function("f", "", (*arguments, Argument("y", "float32", (2, 6), True)), ())
    shapes: list = []
    reference = _Reference(function, lambda *given: shapes.extend(t.shape for t in given), [])
    reference.expect([np.ones((6, 2), np.float32).T, np.array(3, np.float32)])
    assert shapes == [(2, 6), (), (2, 6)]
