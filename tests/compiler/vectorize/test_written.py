"""What could go wrong in reading a function: rows of one, two ways to sum, choices, names."""

import numpy as np
import pytest
from tvm import relax, te
from tvm.relax import op

from microscopiq.compiler.passes.vectorize.blocks import inlined
from microscopiq.compiler.passes.vectorize.read import read_vector
from microscopiq.compiler.passes.vectorize.refusal import Refused
from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check, compiled, normal


def test_a_row_of_one_element_takes_none_of_its_neighbours():
    check(make.module(lambda e, x: e(op.sum(x, [1])), (3, 1, 7)), "tiny-4x4")
    check(make.module(lambda e, x: e(op.max(x, [0, 2])), (1, 9, 1)), "tiny-4x4")


def test_sums_along_two_axes_one_after_the_other_are_refused():
    x = te.placeholder((5, 40), "float32", "x")
    k, i = te.reduce_axis((0, 40), "k"), te.reduce_axis((0, 5), "i")
    rows = te.compute((5,), lambda r: te.sum(x[r, k], axis=k), name="rows")
    whole = te.compute((1,), lambda _: te.max(rows[i], axis=i), name="whole")
    with pytest.raises(Refused, match="along one axis and then along another"):
        read_vector(inlined(te.create_prim_func([x, whole])))


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_what_lies_outside_of_an_image_is_no_error(method):
    """A sample beyond the edge is 0, and its place is computed all the same."""

    def body(emit, x):
        grid = emit(op.multiply(make.const(1, 2, 4, 5, seed=2), relax.const(3.0, "float32")))
        return emit(op.image.grid_sample(x, grid, method, "NCHW", "zeros", False))

    mod = make.module(body, (1, 3, 6, 7))
    check(mod, inputs=normal(mod))


def test_a_shift_too_far_that_is_not_taken_is_no_error():
    def body(emit, x):
        far = emit(op.less(x, relax.const(0, "int32")))
        return emit(op.where(far, x, emit(op.right_shift(relax.const(1000, "int32"), x))))

    mod = make.module(body, (2, 4), dtype="int32")
    check(mod, inputs=[np.array([[3, -1, 0, 9], [-40, 2, 1, 31]], np.int32)])


def test_no_name_is_one_of_the_hosts_own():
    """TVM writes functions beside a module's, such as `shape_func`: the VM would call those."""
    state = compiled(make.module(lambda e, x: e(op.nn.softmax(x, -1)), (3, 9)))
    assert state.layers and all(symbol.startswith("mq_") for symbol in state.layers)
