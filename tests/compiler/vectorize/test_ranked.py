"""Sorts and the like by ranks: all on the machine, as plain LLVM computes them."""

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check, compiled

RNG = np.random.default_rng(7)


def some(shape, dtype):
    """Return numbers of which several are equal."""
    return RNG.integers(-4, 4, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((3, 20), -1), ((6, 2), 0)])
def test_order_of_numbers_of_which_some_are_equal(shape, axis, descending, dtype):
    def body(emit, x):
        numbers = emit(op.argsort(x, axis, descending, "int64"))
        return emit(relax.Tuple([numbers, emit(op.sort(x, axis, descending))]))

    check(make.module(body, shape, dtype=dtype), "tiny-4x4", [some(shape, dtype)])


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("results", ["both", "values", "indices"])
@pytest.mark.parametrize(("shape", "axis", "k"), [((4, 6), -1, 2), ((5, 3), 0, 5)])
def test_the_first_of_an_order(shape, axis, k, results, largest):
    def body(emit, x):
        return emit(op.topk(x, k, axis, results, largest, "int64"))

    x = some(shape, "float32")
    x.flat[3] = np.inf
    check(make.module(body, shape), "tiny-4x4", [x])


def test_long_rows_stay_on_the_host():
    mod = make.module(lambda emit, x: emit(op.argsort(x, 1)), (2, 1000))
    assert [each.operator for each in compiled(mod).host] == ["argsort"]
