"""Cumulative sums, scatters and the like: all on the machine, as plain LLVM computes them."""

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check, compiled

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis", "dtype", "to"),
    [((3, 17), -1, "float32", None), ((5, 3, 2), 1, "float32", None), ((2, 9), 1, "int64", None),
     ((2, 40), 1, "int32", "int64"), ((4,), 0, "float32", "int32")],
)  # fmt: skip
def test_cumulative_sums(shape, axis, dtype, to, exclusive):
    mod = make.module(lambda emit, x: emit(op.cumsum(x, axis, to, exclusive)), shape, dtype=dtype)
    check(mod, "tiny-4x4", [np.round(RNG.standard_normal(shape) * 9).astype(dtype)])


@pytest.mark.parametrize("reduction", ["update", "add"])
@pytest.mark.parametrize(
    ("shape", "width", "count"), [((7, 5), 1, (4,)), ((3, 4, 2, 3), 2, (2, 3)), ((9,), 1, (9,))]
)
def test_scatters_of_rows(shape, width, count, reduction):
    places = RNG.permutation(int(np.prod(shape[:width])))[: np.prod(count)].reshape(count)
    indices = np.stack(np.unravel_index(places, shape[:width]), -1).astype("int64")
    # One row twice: of two updates the later counts.
    indices.reshape(-1, width)[-1] = indices.reshape(-1, width)[0]

    def body(emit, x):
        updates = make.const(*count, *shape[width:], seed=4)
        given = emit(
            op.add(relax.const(indices, "int64"), emit(op.astype(emit(op.sum(x)), "int64")))
        )
        return emit(op.scatter_nd(x, given, updates, reduction))

    x = RNG.standard_normal(shape).astype(np.float32)
    x.flat[-1] -= x.sum()
    check(make.module(body, shape), "tiny-4x4", [x])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatters_of_elements_add_up(axis):
    shape, count = (4, 3, 5), [4, 3, 5]
    count[axis] = 8
    indices = RNG.integers(-shape[axis], shape[axis], count)

    def body(emit, x):
        updates = make.const(*count, seed=5)
        return emit(op.scatter_elements(x, relax.const(indices, "int64"), updates, axis, "add"))

    check(make.module(body, shape), "tiny-4x4")


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize(("axis", "keep"), [(-1, False), (0, True)])
def test_places_of_extreme_integers_are_the_first(name, axis, keep):
    mod = make.module(lambda emit, x: emit(getattr(op, name)(x, axis, keep)), (5, 9), dtype="int32")
    check(mod, "tiny-4x4", [RNG.integers(-3, 3, (5, 9)).astype("int32")])


@pytest.mark.parametrize(("image", "size"), [((5, 5), (2, 2)), ((7, 4), (3, 4)), ((3, 2), (4, 3))])
def test_pools_whose_windows_differ(image, size):
    check(make.module(lambda e, x: e(op.nn.adaptive_avg_pool2d(x, size)), (2, 3, *image)))


def test_a_window_larger_than_the_image_is_the_image():
    mod = make.module(
        lambda e, x: e(op.nn.avg_pool2d(x, (32, 32), (32, 32), ceil_mode=True)), (1, 5, 4, 6)
    )
    check(mod, "tiny-4x4")


def test_what_would_be_too_much_work_stays_on_the_host():
    mod = make.module(lambda emit, x: emit(op.cumsum(x, 1)), (2, 1000))
    assert [each.operator for each in compiled(mod).host] == ["cumsum"]
