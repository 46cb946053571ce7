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
from microscopiq.compiler.tiling.strides import along
from microscopiq.compiler.tiling.then import following
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.isa.program import size_of
from microscopiq.target.packing import pack
from tests.runtime.gemm_program import random_weight

TINY = replace(load_arch("tiny-4x4"), obuf_bytes=1 << 16)
M, N, K = 7, 150, 12
GEMM = Gemm(1, 1, M, N, K, "int8", bias=True)
HEADS = Gemm(3, 1, M, 6, K, "")


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


def with_others(op: Gemm, target: tuple[int, int, int]) -> Vector:
    """Return (x * scale + mask) * gain[row] - y, stored at strides by image, row and column."""
    images, rows, columns = op.batch, op.m, op.n

    def load(argument, image, row, column):
        access = Access(argument, 0, (image,), row, column)
        return Value(LOAD, access=access, tall=bool(row), wide=bool(column))

    def step(operation, *operands):
        return Value(MAP, operation, operands, tall=True, wide=True)

    dense = rows * columns, columns, 1
    values = (
        load(0, 0, 0, 0),
        load(2, *dense),
        step("multiply", 1, 0),
        load(1, 0, columns, 1),
        step("add", 2, 3),
        load(3, rows, 1, 0),
        step("multiply", 4, 5),
        load(4, *dense),
        step("subtract", 6, 7),
    )
    shapes = ((), (rows, columns), (images, rows, columns), (images, rows), (images, rows, columns))
    size = (images * rows * columns,)
    access = Access(5, 0, target[:1], *target[1:])
    part = Part((images,), rows, columns, columns, values, ((8, access),))
    return Vector((*shapes, size), ("float32",) * 6, 1, (part,))


def copy(op: Gemm, target: tuple[int, int, int]) -> Vector:
    """Return what only moves elements."""
    images, rows, columns = op.batch, op.m, op.n
    access = Access(0, 0, (rows * columns,), columns, 1)
    values = (Value(LOAD, access=access, tall=True, wide=True),)
    stores = ((0, Access(1, 0, target[:1], *target[1:])),)
    part = Part((images,), rows, columns, columns, values, stores)
    shape = (images * rows * columns,)
    return Vector(((images, rows, columns), shape), ("float32",) * 2, 1, (part,))


def numbers(rng, argument) -> np.ndarray:
    if argument.dtype == "float32":
        return rng.standard_normal(argument.shape).astype(np.float32)
    if argument.name.endswith("exponent"):
        return np.full(argument.shape, -4, np.int8)
    return rng.integers(-90, 90, argument.shape).astype(np.int8)


def check(op: Gemm, second: Vector, argument=0, kept=()) -> None:
    """Compare a product's function with steps behind it with that of one after the other."""
    weights = pack([random_weight("int8", op.n, op.k)]) if op.weight_format else b""
    tile = kind_of(op).default_tile(op, TINY)
    first = emit_tile(op, tile, TINY, "f", "f", weights)
    then = emit_tile(second, kind_of(second).default_tile(second, TINY), TINY, "g", "g", b"")
    steps = following(op, second, argument)
    alone = emit_then(steps, tile, TINY, ("h", "h"), weights)
    number = {a.name: n for n, a in enumerate(alone.arguments)}
    ends = np.cumsum([size_of(alone.arguments[number[name]]) for name in kept])
    places = {number[n]: TINY.obuf_bytes - int(e) for n, e in zip(kept, ends, strict=True)}
    room = Room(kept=places, stored=frozenset(places))
    both = emit_then(steps, tile, TINY, ("h", "h"), weights, room)
    assert {b.argument for b in both.buffers if b.kept} == set(places)
    rng = np.random.default_rng(0)
    inputs = [numbers(rng, a) for a in both.arguments[:-1]]
    count = len(first.arguments) - 1
    y = np.zeros(first.arguments[-1].shape, np.float32)
    z, found = (np.zeros(both.arguments[-1].shape, np.float32) for _ in range(2))
    run(first, TINY, [*inputs[:count], y])
    others = inputs[count:]
    others.insert(argument, y.reshape(second.arguments[argument]))
    run(then, TINY, [*others, z.reshape(second.arguments[-1])])
    run(both, TINY, [*inputs, found])
    np.testing.assert_array_equal(found.view(np.uint32), z.view(np.uint32))
    assert np.count_nonzero(z) > z.size / 2


@pytest.mark.parametrize("shape", [(M, N), (1, M * N), (M * N // 3, 3)])
@pytest.mark.parametrize("kept", [(), ("out",)])
def test_bits_of_one_after_the_other(shape, kept):
    """However the vector operator sees the elements, each is the product's in its place."""
    rows, columns = shape
    check(GEMM, vector(columns, rows), kept=kept)


TARGETS = {
    "as it lies": lambda op: (op.m * op.n, op.n, 1),
    "transposed": lambda op: (op.m * op.n, 1, op.m),
    "heads side by side": lambda op: (op.n, op.batch * op.n, 1),
}


@pytest.mark.parametrize("op", [GEMM, HEADS], ids=["layer", "heads"])
@pytest.mark.parametrize("target", TARGETS)
def test_other_operands_and_other_places(op, target):
    check(op, with_others(op, TARGETS[target](op)), argument=2)


@pytest.mark.parametrize("op", [GEMM, HEADS], ids=["layer", "heads"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_copy_is_where_it_is_stored(op, target):
    check(op, copy(op, TARGETS[target](op)))


def test_a_mask_of_all_images_is_loaded_once():
    """And is so small that it stays there."""
    second = with_others(HEADS, TARGETS["as it lies"](HEADS))
    both = emit_then(
        following(HEADS, second, 2), kind_of(HEADS).default_tile(HEADS, TINY), TINY, ("h", "h"), b""
    )
    (mask,) = [b for b in both.buffers if b.name == "then_3"]
    assert mask.size >= 4 * HEADS.m * HEADS.n
    depth, loads = 0, []
    for instruction in both.code:
        depth += (type(instruction).__name__ == "Loop") - (type(instruction).__name__ == "EndLoop")
        if getattr(instruction, "arg", None) == 5:
            loads.append(depth)
    assert loads == [0]


@pytest.mark.parametrize("kept", [("then1",), ("then4",), ("then4", "out")])
def test_operands_that_stay_on_the_chip(kept, monkeypatch):
    second = with_others(HEADS, TARGETS["as it lies"](HEADS))
    steps = following(HEADS, second, 2)
    tile = kind_of(HEADS).default_tile(HEADS, TINY)
    names = [a.name for a in emit_then(steps, tile, TINY, ("h", "h"), b"").arguments]
    room = Room(kept={names.index(name): 4096 * (1 + at) for at, name in enumerate(kept)})
    both = emit_then(steps, tile, TINY, ("h", "h"), b"", room)
    # Nobody loads or stores them.
    moved = {getattr(i, "arg", None) for i in both.code}
    assert not moved & set(room.kept)


def halves() -> Vector:
    """Return a copy to (2, M, N / 2)."""
    values = (Value(LOAD, access=Access(0, 0, (N // 2,), N, 1), tall=True, wide=True),)
    stores = ((0, Access(1, 0, (M * N // 2,), N // 2, 1)),)
    part = Part((2,), M, N // 2, N // 2, values, stores)
    return Vector(((M, N), (2, M, N // 2)), ("float32",) * 2, 1, (part,))


OTHERS = {
    "fewer elements": (GEMM, vector(rows=M - 1)),
    "a sum": (GEMM, vector(values=(*vector().parts[0].values[:3], Value(REDUCE, "sum", (2,))))),
    "int8 results": (replace(GEMM, requantize=True), vector()),
    "another type": (GEMM, replace(vector(), dtypes=("float32", "int8"))),
    "columns in two": (GEMM, halves()),
    "an end of it": (GEMM, vector(stores=((3, Access(1, 5, (), N, 1)),))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_follow(name):
    assert following(GEMM, vector()) is not None
    assert following(*OTHERS[name]) is None


def test_strides_along_axes_that_part_and_join():
    """Rows of 6 are three pairs, and two images of 4 rows are 8 rows."""
    part = Part((2,), 4, 6, 6, (), ())
    dense, other = Access(0, 0, (24,), 6, 1), Access(1, 0, (40,), 10, 1)
    assert along(part, dense, other, (8, 3, 2)) == [10, 2, 1]
    assert along(part, dense, other, (48,)) is None
    assert along(part, dense, other, (2, 24)) is None
    assert along(part, dense, dense, (6, 8)) == [8, 1]
    assert along(part, Access(0, 0, (24,), 1, 4), other, (2, 6, 4)) == [40, 1, 10]
    assert along(part, Access(0, 0, (20,), 6, 1), other, (8, 3, 2)) is None
    assert along(part, dense, other, (8, 3)) is None
    folded = Part((), 8, 6, 2, (), ())
    assert along(folded, Access(0, 0, (), 6, 1, 2), Access(1, 0, (), 2, 1, 16), (8, 3, 2)) == [
        2, 16, 1
    ]  # fmt: skip
