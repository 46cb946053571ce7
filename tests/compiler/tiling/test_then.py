"""compiler/tiling/then.py: which vector operators take on tiles of a product, with which bits."""

from dataclasses import replace

import numpy as np
import pytest

from microscopiq.compiler.emit.state import Room
from microscopiq.compiler.kinds.registry import emit_tile, kind_of
from microscopiq.compiler.kinds.then import emit_then
from microscopiq.compiler.operators import (
    CONSTANT,
    LOAD,
    MAP,
    REDUCE,
    Access,
    Gemm,
    Part,
    Value,
    Vector,
)
from microscopiq.compiler.tiling.then import following
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.packing import pack
from tests.runtime.gemm_program import random_weight

TINY = load_arch("tiny-4x4")
M, N, K = 7, 150, 12
GEMM = Gemm(1, 1, M, N, K, "int8", bias=True)


def vector(columns=N, rows=M, **changes) -> Vector:
    """Return max(x, 0.5) * x over rows and columns, or a change of it."""
    access = Access(0, 0, (), columns, 1)
    values = (
        Value(CONSTANT, number=0.5),
        Value(LOAD, access=access, tall=True, wide=True),
        Value(MAP, "max", (1, 0), tall=True, wide=True),
        Value(MAP, "multiply", (2, 1), tall=True, wide=True),
    )
    part = Part((), rows, columns, columns, values, ((3, replace(access, argument=1)),))
    part = replace(part, **changes)
    return Vector(((rows, columns),) * 2, ("float32",) * 2, 1, (part,))


@pytest.mark.parametrize("shape", [(M, N), (1, M * N), (M * N // 3, 3)])
@pytest.mark.parametrize("kept", [False, True])
def test_bits_of_one_after_the_other(shape, kept):
    """However the vector operator sees the elements, each is the product's in its place."""
    rows, columns = shape
    second = vector(columns, rows)
    weights = pack([random_weight("int8", N, K)])
    tile = kind_of(GEMM).default_tile(GEMM, TINY)
    first = emit_tile(GEMM, tile, TINY, "f", "f", weights)
    then = emit_tile(second, kind_of(second).default_tile(second, TINY), TINY, "g", "g", b"")
    part = following(GEMM, second)
    room = Room(kept={3: TINY.obuf_bytes - 4 * M * N}, stored=frozenset({3})) if kept else Room()
    both = emit_then(GEMM, part, tile, TINY, ("h", "h"), weights, room)
    assert [b.kept for b in both.buffers if b.argument == 3] == [kept]
    rng = np.random.default_rng(0)
    x = rng.integers(-90, 90, (1, M, K)).astype(np.int8)
    given = [x, np.full((1, M, 1), -4, np.int8), rng.standard_normal(N).astype(np.float32)]
    y, z, found = (np.zeros((1, M, N), np.float32) for _ in range(3))
    run(first, TINY, [*given, y])
    run(then, TINY, [y.reshape(shape), z.reshape(shape)])
    run(both, TINY, [*given, found])
    np.testing.assert_array_equal(found.view(np.uint32), z.view(np.uint32))
    assert z.any()


OTHERS = {
    "fewer elements": (GEMM, vector(rows=M - 1)),
    "elements from elsewhere": (
        GEMM,
        vector(stores=((3, Access(1, 0, (), 1, M)),)),
    ),
    "a sum": (GEMM, vector(values=(*vector().parts[0].values[:3], Value(REDUCE, "sum", (2,))))),
    "int8 results": (replace(GEMM, requantize=True), vector()),
    "another type": (GEMM, replace(vector(), dtypes=("float32", "int8"))),
    "a copy": (GEMM, vector(stores=((1, Access(1, 0, (), N, 1)),))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_follow(name):
    assert following(GEMM, vector()) is not None
    assert following(*OTHERS[name]) is None
