"""Functions that are more than one operator: loops apart, and on the host what has to be there."""

import pytest
from tvm import relax, te, tirx, topi
from tvm.relax import op

from microscopiq.compiler.passes.vectorize.refusal import Refused
from microscopiq.compiler.passes.vectorize.steps import steps_of
from microscopiq.target.arch import load_arch
from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check

ARCH = load_arch("tiny-4x4")


def function(of, shape, dtype="float32"):
    """Return the PrimFunc of an expression of one tensor, as TVM would fuse it."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, dtype))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit_te(of, x))
    return next(f for f in builder.get().functions.values() if isinstance(f, tirx.PrimFunc))


def sum_of_sums(x):
    k, i = te.reduce_axis((0, 40), "k"), te.reduce_axis((0, 5), "i")
    rows = te.compute((5,), lambda r: te.sum(x[r, k], axis=k), name="rows")
    return te.compute((1,), lambda _: te.max(rows[i], axis=i), name="whole")


def test_a_sum_of_sums_is_two_operators():
    steps = steps_of(function(sum_of_sums, (5, 40)), "sums", ARCH)
    assert [step.reason for step in steps] == ["", ""]
    assert all(step.operator is not None for step in steps)


def product_of_rows(x):
    product = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), "product")
    k = te.reduce_axis((0, 7), "k")
    rows = te.compute((5,), lambda r: product(topi.exp(x)[r, k], axis=k), name="rows")
    return topi.multiply(topi.tanh(rows), topi.max(x, 1))


def test_only_the_loops_that_can_not_run_on_the_machine_stay_on_the_host():
    steps = steps_of(function(product_of_rows, (5, 7)), "products", ARCH)
    assert [bool(step.reason) for step in steps] == [False, True, False]
    assert "sum, maximum or minimum" in steps[1].reason


def test_a_function_of_which_nothing_can_run_is_refused_as_it_is():
    halves = function(lambda x: topi.tanh(topi.exp(x)), (5, 7), "float16")
    with pytest.raises(Refused, match="takes no float16"):
        steps_of(halves, "halves", ARCH)


def remainders(x):
    def element(*at):
        return tirx.call_pure_extern("float32", "fmodf", x(*at), tirx.const(0.3, "float32"))

    return te.compute(x.shape, element, name="remainders")


def test_what_a_function_of_the_host_computes_stays_there():
    with pytest.raises(Refused, match="has no call_pure_extern of float32"):
        steps_of(function(remainders, (5, 7)), "remainders", ARCH)
    behind = function(lambda x: topi.sum(topi.exp(remainders(x)), 1), (5, 7))
    assert any(step.reason for step in steps_of(behind, "behind", ARCH))


def test_loops_around_a_call_with_a_buffer_are_not_cut_apart():
    """A sort reads and writes what it is called with, without a load or a store."""
    boxes = function(lambda x: topi.sort(topi.exp(x), axis=1), (5, 7))
    with pytest.raises(Refused, match="more than stores of elements"):
        steps_of(boxes, "sorted", ARCH)


def heads(emit, x):
    """Rotary embedding of the first heads of a product that holds those of keys too."""
    x = emit(op.strided_slice(x, [2], [0], [24]))
    x = emit(op.permute_dims(emit(op.reshape(x, (1, 5, 3, 8))), [0, 2, 1, 3]))
    parts = [emit(op.strided_slice(x, [3], [low], [low + 4])) for low in (0, 4)]
    turned = emit(op.concat([emit(op.negative(parts[1])), parts[0]], -1))
    angles = [make.const(5, 8, seed=seed) for seed in (1, 2)]
    return emit(op.add(emit(op.multiply(x, angles[0])), emit(op.multiply(turned, angles[1]))))


def test_a_slice_of_a_slice_goes_through_memory_in_between():
    check(make.module(heads, (1, 5, 40)), "tiny-4x4")


def wrapped(x):
    """Wrap as ONNX casts to int32: of both branches one needs more than 32 bits."""
    whole = topi.cast(x, "int64")
    wide = tirx.const(1 << 32, "int64")
    rest = te.compute(whole.shape, lambda *at: te.floormod(whole(*at), wide), name="rest")
    return te.compute(
        rest.shape,
        lambda *at: tirx.Select(rest(*at) >= (1 << 31), rest(*at) - wide, rest(*at)).astype(
            "int32"
        ),
        name="wrapped",
    )


def test_what_needs_64_bits_is_not_split():
    with pytest.raises(Refused):
        steps_of(function(wrapped, (5, 7)), "wrapped", ARCH)
