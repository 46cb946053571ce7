"""compiler/tiling/moved.py: a quantization reads values from before they were moved for it."""

from dataclasses import replace

import numpy as np
import pytest

from microscopiq.compiler.emit.state import Room
from microscopiq.compiler.kinds.registry import emit_tile, kind_of
from microscopiq.compiler.kinds.then import emit_moved
from microscopiq.compiler.operators import LOAD, MAP, Access, Part, Quantize, Value, Vector
from microscopiq.compiler.tiling.moved import moved
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch

TINY = load_arch("tiny-4x4")
HEADS, TOKENS, WIDTH = 3, 10, 8


def move(source: Access, shape: tuple[int, int, int]) -> Vector:
    """Return a copy to (heads, rows, columns) as they follow each other."""
    images, rows, columns = shape
    target = Access(1, 0, (rows * columns,), columns, 1)
    values = (Value(LOAD, access=source, tall=True, wide=True),)
    part = Part((images,), rows, columns, columns, values, ((0, target),))
    return Vector(
        ((TOKENS, HEADS * WIDTH), (1, images * rows, columns)), ("float32",) * 2, 1, (part,)
    )


CASES = {
    # Of tokens by heads, the tokens of each head; and each channel's tokens.
    "heads": (Access(0, 0, (WIDTH,), HEADS * WIDTH, 1), (HEADS, TOKENS, WIDTH)),
    "channels": (Access(0, 0, (WIDTH,), 1, HEADS * WIDTH), (HEADS, WIDTH, TOKENS)),
}


@pytest.mark.parametrize("group", [128, 4])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kept", [False, True])
def test_bits_of_one_after_the_other(case, group, kept):
    access, shape = CASES[case]
    first = move(access, shape)
    op = Quantize(shape[0] * shape[1], shape[2], min(group, shape[2]))
    behind = moved(first, op)
    assert behind.op.batch == (HEADS if case == "heads" else 1)
    if kept and case == "channels":
        # Neighbours aren't neighbours on the chip: they come through a transfer.
        with pytest.raises(KeyError):
            emit_moved(behind, op, TINY, ("h", "h"), Room(kept={0: 0}))
        return
    # The codes stay: values would have to be put there by somebody.
    place = TINY.spad_bytes - HEADS * TOKENS * WIDTH
    room = Room(kept={1: place}, stored=frozenset({1})) if kept else Room()
    alone = [
        emit_tile(each, kind_of(each).default_tile(each, TINY), TINY, "f", "f", b"")
        for each in (first, op)
    ]
    both = emit_moved(behind, op, TINY, ("h", "h"), room)
    assert [a.shape for a in both.arguments[1:]] == [a.shape for a in alone[1].arguments[1:]]
    x = np.random.default_rng(0).standard_normal(both.arguments[0].shape).astype(np.float32)
    y = np.zeros(alone[0].arguments[1].shape, np.float32)
    run(alone[0], TINY, [x, y])
    results = []
    for function, given in ((alone[1], y), (both, x)):
        results.append([np.zeros(a.shape, np.int8) for a in function.arguments[1:]])
        run(function, TINY, [given, *results[-1]])
    for have, want in zip(*results, strict=True):
        np.testing.assert_array_equal(have, want)
        assert want.any()


def test_values_that_stay_on_the_chip_are_read_there():
    access, shape = CASES["heads"]
    op = Quantize(HEADS * TOKENS, WIDTH, WIDTH)
    both = emit_moved(moved(move(access, shape), op), op, TINY, ("h", "h"), Room(kept={0: 4096}))
    assert not [each for each in both.code if type(each).__name__ == "DmaLoad"]
    read = [each for each in both.code if type(each).__name__ in ("Absmax", "Quant")]
    assert {(each.src.base, each.src_pitch) for each in read} == {(4096, 4 * HEADS * WIDTH)}
    (image,) = {stride for each in read for stride in each.src.strides if stride}
    assert image == 4 * WIDTH


def test_what_is_not_moved_alone():
    access, shape = CASES["heads"]
    first, op = move(access, shape), Quantize(HEADS * TOKENS, WIDTH, WIDTH)
    (part,) = first.parts
    assert moved(first, op) is not None
    assert moved(first, replace(op, across=True)) is None
    assert moved(replace(first, parts=(part, part)), op) is None
    assert moved(replace(first, dtypes=("int8", "float32")), op) is None
    more = (*part.values, Value(MAP, "exp", (0,), tall=True, wide=True))
    assert moved(replace(first, parts=(replace(part, values=more),)), op) is None
    # Rows of two heads are at no single stride.
    assert moved(first, Quantize(TOKENS, HEADS * WIDTH, WIDTH)) is None
