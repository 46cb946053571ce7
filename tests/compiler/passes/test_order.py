"""compiler/passes/order.py: channels in another order, results in their own."""

import dataclasses

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.order import GATHER, channel_order
from microscopiq.compiler.passes.records import RECIPE
from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.runtime.session import Session
from tests.compiler import relax_modules as make
from tests.tolerance import SQNR_DB, sqnr_db

ORDERED = load_recipe("microscopiq-w4a8-ordered")
SOURCE = load_recipe("microscopiq-w4a8")


def exact_linear(emit, x, n, seed):
    """A linear layer whose weights are inliers of one scale: 4 bits hold them in any order."""
    k = int(x.ty.shape.values[-1])
    rng = np.random.default_rng(seed)
    weight = rng.integers(2, 8, (k, n)) * rng.choice([-1, 1], (k, n)) / 64
    weight[:, rng.permutation(n)[: n // 2]] /= 1.75  # not exact, but one channel is as another
    weight = np.round(weight * 64) / 64
    bias = relax.const(rng.integers(-8, 9, n).astype(np.float32))
    return emit(op.add(emit(op.matmul(x, relax.const(weight.astype(np.float32)))), bias))


def gelu(emit, x):
    half = emit(op.multiply(x, relax.const(np.float32(0.5))))
    inner = emit(op.erf(emit(op.multiply(x, relax.const(np.float32(0.7071))))))
    return emit(op.multiply(half, emit(op.add(inner, relax.const(np.float32(1))))))


def folded(emit, x):
    return exact_linear(emit, gelu(emit, exact_linear(emit, x, 140, 1)), 12, 2)


def requantized(emit, x):
    return exact_linear(emit, exact_linear(emit, x, 140, 1), 12, 2)


def residual(emit, x):
    return emit(op.add(x, exact_linear(emit, gelu(emit, exact_linear(emit, x, 140, 1)), 131, 2)))


def two_readers(emit, x):
    y = exact_linear(emit, x, 140, 1)
    return exact_linear(emit, gelu(emit, y), 10, 2), exact_linear(emit, gelu(emit, y), 6, 3)


def seen_elsewhere(emit, x):
    y = exact_linear(emit, x, 140, 1)
    return exact_linear(emit, gelu(emit, y), 10, 2), emit(op.nn.softmax(y))


def first_is_output(emit, x):
    y = exact_linear(emit, x, 140, 1)
    return y, exact_linear(emit, gelu(emit, y), 10, 2)


# Layers folded into their readers, gathers. A layer of one macro-block keeps its order.
CASES = {
    folded: (1, 0),
    requantized: (1, 0),
    residual: (1, 2),
    two_readers: (1, 0),
    seen_elsewhere: (0, 1),
    first_is_output: (0, 1),
}


@pytest.mark.parametrize("body", CASES, ids=lambda body: body.__name__)
def test_results_are_those_of_the_source_order(body):
    mod = make.module(body, (5, 131))
    x = make.inputs_of(mod)
    runs = []
    for recipe in (SOURCE, ORDERED):
        state = compile_model(mod, Options(recipe=recipe, arch="tiny-4x4", vector=False))
        found = Session(state.executable).run(*x).outputs
        make.assert_equal_bits(make.run_llvm(state.quantized, x), found)
        runs.append(found)
    for want, have in zip(*runs, strict=True):
        if CASES[body][0]:
            # A reader's inputs stand in other groups of 128, with exponents of their own.
            assert sqnr_db(want, have) >= SQNR_DB["int8"]
        else:
            np.testing.assert_array_equal(want, have)
    orders = [row.work.output_order for row in state.layers.values() if row.work]
    gathers = sum(count for _, name, why, count in state.host if why == GATHER)
    assert (orders.count("folded into its readers"), gathers) == CASES[body]


def test_only_formats_with_outliers_are_ordered():
    mod = make.module(folded, (5, 9))
    for name in ("int8", "int4"):
        plain = load_recipe(name)
        ordered = dataclasses.replace(plain, output_order="norm")
        # The module says which recipe made it: this differs.
        one, other = (
            make.emitted(mod, recipe).quantized.without_attr(RECIPE) for recipe in (plain, ordered)
        )
        tvm.ir.assert_structural_equal(one, other)


def test_macro_blocks_fall_by_norm_and_keep_their_order_inside():
    norms = np.concatenate([np.full(100, 1), np.full(60, 5), np.full(68, 3)])
    weight = norms[:, None].astype(np.float32)
    want = [*range(100, 228), *range(100)]
    np.testing.assert_array_equal(channel_order(weight), want)
    np.testing.assert_array_equal(channel_order(weight[:100]), range(100))
