"""Products of integers with zero points, against NumPy in 64 bits."""

import itertools

import numpy as np
import pytest
import tvm
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tvm import relax

from microscopiq.compiler.passes.integers.products import Geometry, conv2d, matmul
from microscopiq.compiler.passes.integers.split import exact_ranges, split_long_sums
from microscopiq.runtime.session import Session
from tests.compiler.relax_modules import compiled, run_llvm

TYPES = st.sampled_from(["int8", "uint8"])


def module(body, inputs: list[np.ndarray]) -> tvm.IRModule:
    """Return a module of what a builder's `emit` and the inputs give."""
    builder = relax.BlockBuilder()
    types = [relax.TensorType(value.shape, str(value.dtype)) for value in inputs]
    parameters = [relax.Var(f"x{number}", each) for number, each in enumerate(types)]
    with builder.function("main", parameters):
        with builder.dataflow():
            result = builder.emit_output(body(builder.emit, *parameters))
        builder.emit_func_output(result)
    return builder.get()


def codes(rng, dtype: str, *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


@settings(max_examples=5)
@given(TYPES, TYPES, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 99))
@example("uint8", "uint8", True, True, True, 0)
@example("uint8", "uint8", True, False, False, 0)
def test_matrix_products(a, b, constant, by_row, by_column, seed):
    rng = np.random.default_rng(seed)
    rows, inputs, columns = rng.integers(1, 20, 3)
    left, right = codes(rng, a, rows, inputs), codes(rng, b, inputs, columns)
    zeros = [codes(rng, a, *[rows] * by_row), codes(rng, b, *[columns] * by_column)]
    known = [*map(relax.const, (right, zeros[0], zeros[1]))]
    given_at_run_time = [left] if constant else [left, right, *zeros]

    def body(emit, x, *others):
        return matmul(emit, x, *(others or known))

    found = run_llvm(module(body, given_at_run_time), given_at_run_time)[0]
    lower = zeros[0].astype(np.int64)[:, None] if by_row else zeros[0].astype(np.int64)
    want = (left - lower) @ (right - zeros[1].astype(np.int64))
    np.testing.assert_array_equal(found, want)


@settings(max_examples=5)
@given(TYPES, TYPES, st.booleans(), st.booleans(), st.integers(1, 2), st.integers(0, 99))
@example("uint8", "uint8", False, True, 2, 0)
def test_convolutions(a, b, known_zero, by_channel, groups, seed):
    rng = np.random.default_rng(seed)
    channels, out = groups * rng.integers(1, 4, 2)
    image = codes(rng, a, 1, channels, *rng.integers(3, 7, 2))
    kernel = codes(rng, b, out, channels // groups, *rng.integers(1, 4, 2))
    zero, of_kernel = codes(rng, a), codes(rng, b, *[out] * by_channel)
    pads = tuple(map(int, rng.integers(0, 3, 4)))
    geometry = Geometry(strides=(2, 1), pads=pads, groups=groups)

    def body(emit, x, at=None):
        at = relax.const(zero) if at is None else at
        return conv2d(emit, x, relax.const(kernel), geometry, at, relax.const(of_kernel))

    inputs = [image] if known_zero else [image, zero]
    found = run_llvm(module(body, inputs), inputs)[0]
    top, left, bottom, right = pads
    centered = image.astype(np.int64) - zero
    padded = np.pad(centered, ((0, 0), (0, 0), (top, bottom), (left, right)))
    weights = kernel - of_kernel.astype(np.int64).reshape(-1, 1, 1, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], (2, 3))[:, :, ::2]
    apart = windows.reshape(1, groups, channels // groups, *windows.shape[2:])
    want = np.einsum(
        "bgchwij,gocij->bgohw", apart, weights.reshape(groups, out // groups, *weights.shape[1:])
    )
    np.testing.assert_array_equal(found, want.reshape(found.shape))


@given(st.integers(1, 3000), st.integers(1, 128), st.sampled_from([1, 128]), st.integers(0, 9))
@example(3000, 128, 1, 0)
@example(3000, 128, 128, 1)
def test_ranges_cover_all_inputs_and_each_is_exact(length, largest, step, seed):
    rng = np.random.default_rng(seed)
    magnitudes = rng.integers(0, largest + 1, (length, 3))
    ranges = exact_ranges(magnitudes, step)
    assert [start for start, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == length
    for start, end in ranges:
        assert 128 * magnitudes[start:end].sum(0).max() <= 1 << 24
    for (start, _), (_, end) in itertools.pairwise(ranges):
        assert 128 * magnitudes[start:end].sum(0).max() > 1 << 24


@pytest.mark.parametrize("mode", ["fast", "structural"])
def test_sums_beyond_24_bits_are_exact_on_the_array(mode):
    """All at the end of the range, where the machine has 2 ** 14 for each product."""
    x, y = np.full((1, 1500), -128, np.int8), np.full((1, 1500, 2), -128, np.int8)
    image = np.full((1, 16, 9, 9), -128, np.int8)
    y[0, 0], image[0, 0, 0, 0], x[0, 1] = 127, 127, 127

    def body(emit, x, y, image):
        weight = relax.const(np.full((1500, 3), -128, np.int8))
        kernel = relax.const(np.full((2, 16, 9, 9), -128, np.int8))
        return relax.Tuple(
            [
                emit(relax.op.matmul(x, weight, out_dtype="int32")),
                emit(relax.op.matmul(emit(relax.op.expand_dims(x, 0)), y, out_dtype="int32")),
                emit(relax.op.nn.conv2d(image, kernel, out_dtype="int32")),
            ]
        )

    mod = split_long_sums(module(body, [x, y, image]))
    state = compiled(mod, None)
    assert [record.kind for record in state.layers.values()].count("int_linear") == 2
    assert not any("24 bits" in row.reason for row in state.host)
    found = Session(state.executable, mode=mode).run(x, y, image).outputs
    wide = [value.astype(np.int64) for value in (x, y, image)]
    want = [
        wide[0] @ np.full((1500, 3), -128),
        wide[0] @ wide[1],
        (wide[2] * -128).sum() * np.ones((1, 2, 1, 1)),
    ]
    for have, expected in zip(found, want, strict=True):
        np.testing.assert_array_equal(have, expected)
