"""compiler/partition/fusion.py: what may follow a product, where, and with which values."""

import numpy as np
import pytest
from tvm import relax, topi
from tvm.relax import op

from microscopiq.compiler.names import digest
from microscopiq.compiler.partition.graph import function_calls
from microscopiq.compiler.partition.partition import partition
from tests.compiler import relax_modules as make

ROWS, IMAGE = (5, 10), (2, 4, 7, 6)


def behind(kind: str, body, *shapes):
    """Return the partition of a product `y` with what ``body(emit, y, *inputs)`` puts behind it."""

    def whole(emit, *inputs):
        x, *rest = inputs
        if kind == "linear":
            y = emit(op.matmul(x, make.const(10, 8)))
        elif kind == "conv2d":
            y = make.conv(emit, x, 6, padding=1)
        else:
            y, rest = emit(op.matmul(x, rest[0])), rest[1:]
        return body(emit, y, *rest)

    first = {"linear": [ROWS], "conv2d": [IMAGE], "attention": [ROWS, (10, 8)]}[kind]
    return partition(make.module(whole, *first, *shapes)["main"], {})


def only(found):
    (layer,) = found.layers
    return layer


def bounds(layer) -> tuple[float | None, float | None]:
    return layer.low, layer.high


def host(found) -> list[str]:
    return [name for name, _ in found.host]


def clip(emit, y, low, high):
    return emit(op.clip(y, low, high))


def above(emit, y, bound):
    return emit(op.maximum(y, relax.const(np.float32(bound))))


def below(emit, y, bound):
    return emit(op.minimum(y, relax.const(np.float32(bound))))


def add(emit, a, b):
    return emit(op.add(a, b))


@pytest.mark.parametrize(
    ("body", "low", "high", "rest"),
    [
        (make.relu, 0, None, []),
        (lambda emit, y: clip(emit, y, -1.5, 2.5), -1.5, 2.5, []),
        (lambda emit, y: clip(emit, y, 1, 6), 1, 6, []),
        # Not (0, 6): a result of 0.5 would become 0.5 instead of 1.
        (lambda emit, y: make.relu(emit, clip(emit, y, 1, 6)), 1, 6, ["nn.relu"]),
        (lambda emit, y: clip(emit, make.relu(emit, y), 1, 6), 0, None, ["clip"]),
        (lambda emit, y: make.relu(emit, make.relu(emit, y)), 0, None, ["nn.relu"]),
        (lambda emit, y: clip(emit, clip(emit, y, 0, 6), -1, 1), 0, 6, ["clip"]),
        (lambda emit, y: below(emit, above(emit, y, -1), 2), -1, 2, []),
        (lambda emit, y: above(emit, below(emit, y, 2), -1), -1, 2, []),
        (lambda emit, y: below(emit, make.relu(emit, y), 6), 0, 6, []),
        (lambda emit, y: emit(op.maximum(relax.const(1.0), y)), 1, None, []),
        # A bound beyond the other one would be all that is left.
        (lambda emit, y: below(emit, above(emit, y, 1), 0), 1, None, ["minimum"]),
        (lambda emit, y: above(emit, below(emit, y, 0), 1), None, 0, ["maximum"]),
        (lambda emit, y: above(emit, above(emit, y, 0), 1), 0, None, ["maximum"]),
        (lambda emit, y: above(emit, y, -np.inf), None, None, ["maximum"]),
        (lambda emit, y: emit(op.maximum(y, make.const(8))), None, None, ["maximum"]),
    ],
)
def test_one_clamp_is_taken(body, low, high, rest):
    found = behind("linear", body)
    assert (bounds(only(found)), host(found)) == ((low, high), rest)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("kind", "shape"), [("linear", (5, 8)), ("conv2d", (2, 6, 7, 6))])
def test_an_activation_of_the_same_shape_is_a_residual(kind, shape, swapped):
    seen = []

    def body(emit, y, other):
        seen.append(other)
        return add(emit, other, y) if swapped else add(emit, y, other)

    found = behind(kind, body, shape)
    assert only(found).residual.same_as(seen[0]) and not found.host
    assert only(found).bias is None and len(only(found).absorbed) == 2


NO_RESIDUAL = {
    "itself": (lambda emit, y, _: add(emit, y, y), ["add"]),
    "broadcast": (add, ["add"]),
    "wider": (
        lambda emit, y, one: add(emit, y, emit(op.broadcast_to(one, (3, 5, 8)))),
        ["broadcast_to", "add"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_RESIDUAL)
def test_what_is_no_residual(case):
    body, rest = NO_RESIDUAL[case]
    found = behind("linear", body, (1, 8))
    assert only(found).residual is None and host(found) == rest
    assert len(only(found).absorbed) == 1


def test_a_bias_comes_before_a_residual_and_one_of_each():
    """The machine adds the bias to the sums first; a second addition is the host's."""
    bias = make.numbers(8)
    first = behind(
        "linear", lambda emit, y, r: add(emit, add(emit, y, relax.const(bias)), r), (5, 8)
    )
    np.testing.assert_array_equal(only(first).bias, bias)
    assert only(first).residual is not None and not first.host
    after = behind("linear", lambda emit, y, r: add(emit, add(emit, y, r), make.const(8)), (5, 8))
    assert only(after).residual is not None and only(after).bias is None
    assert host(after) == ["add"]
    twice = behind(
        "linear", lambda emit, y, r, s: add(emit, add(emit, y, r), s), (5, 8), (5, 8)
    )  # fmt: skip
    assert host(twice) == ["add"] and len(only(twice).absorbed) == 2


@pytest.mark.parametrize("clamp", [make.relu, lambda emit, y: clip(emit, y, -1, 2)])
def test_nothing_is_added_behind_a_clamp(clamp):
    for other in ((5, 8), (8,)):
        constant = make.const(*other)
        found = behind("linear", lambda emit, y: add(emit, clamp(emit, y), constant))  # noqa: B023
        assert only(found).bias is None and host(found) == ["add"]
    found = behind("linear", lambda emit, y, r: add(emit, clamp(emit, y), r), (5, 8))
    assert only(found).residual is None and host(found) == ["add"]


BIASES = {
    # kind, shape of the constant, whether it is a bias
    "of each column": ("linear", (8,), True),
    "a row": ("linear", (1, 8), True),
    "one number": ("linear", (), True),
    "one number in a row": ("linear", (1,), True),
    "a column": ("linear", (5, 1), False),
    "a matrix": ("linear", (5, 8), False),
    "of each channel": ("conv2d", (6, 1, 1), True),
    "of each channel, 4-D": ("conv2d", (1, 6, 1, 1), True),
    "one number for an image": ("conv2d", (1, 1, 1), True),
    "of each pixel's column": ("conv2d", (6,), False),
    "of each image": ("conv2d", (2, 1, 1, 1), False),
    "of channel and pixel": ("conv2d", (6, 7, 6), False),
    "of two activations": ("attention", (8,), False),
}


@pytest.mark.parametrize("case", BIASES)
def test_which_constants_are_a_bias(case):
    kind, shape, taken = BIASES[case]
    constant = make.numbers(*shape)
    found = behind(kind, lambda emit, y: add(emit, y, relax.const(constant)))
    layer = only(found)
    assert (host(found), len(layer.absorbed)) == (([], 2) if taken else (["add"], 1))
    if taken:
        channels = 8 if kind == "linear" else 6
        expected = constant.reshape(-1) if constant.size > 1 else np.full(channels, constant.item())
        np.testing.assert_array_equal(layer.bias, expected)
        assert layer.bias.dtype == np.float32
    else:
        assert layer.bias is None


def test_a_bias_of_other_columns_stays_out():
    """Behind a reshape that splits or joins columns a constant of the new last axis is none."""
    for shape in ((10, 4), (40,)):
        constant = make.const(shape[-1])
        body = lambda emit, y: add(emit, emit(op.reshape(y, shape)), constant)  # noqa: B023, E731
        found = behind("linear", body)
        assert only(found).bias is None and host(found) == ["add"]


def test_reshapes_are_taken_behind_rows_and_not_behind_images():
    found = behind("linear", lambda emit, y: emit(op.reshape(y, (1, 5, 8))))
    assert len(only(found).absorbed) == 2 and not found.host
    found = behind("conv2d", lambda emit, y: emit(op.reshape(y, (2, -1))))
    assert len(only(found).absorbed) == 1 and host(found) == ["reshape"]


def normed(emit, y, axis=1, item=0, training=False, variance=None, **attrs):
    channels = int(y.ty.shape.values[axis])
    parameters = [make.const(channels, seed=seed) for seed in (1, 2, 3)]
    known = relax.const(np.abs(make.numbers(channels, seed=4)) + np.float32(0.1))
    variance = known if variance is None else variance
    result = emit(op.nn.batch_norm(y, *parameters, variance, axis, training=training, **attrs))
    return emit(relax.TupleGetItem(result, item))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (True, False)])
def test_batch_norm_is_folded(center, scale, with_bias):
    """(y + b - mean) / sqrt(variance + eps) * gamma + beta, for each output channel."""
    bias = make.numbers(6, seed=5)

    def body(emit, y):
        y = add(emit, y, relax.const(bias.reshape(6, 1, 1))) if with_bias else y
        return normed(emit, y, center=center, scale=scale, epsilon=0.01)

    layer = only(behind("conv2d", body))
    gamma, beta, mean = (make.numbers(6, seed=seed).astype(np.float64) for seed in (1, 2, 3))
    variance = (np.abs(make.numbers(6, seed=4)) + np.float32(0.1)).astype(np.float64)
    factor = (gamma if scale else 1) / np.sqrt(variance + 0.01)
    before = bias.astype(np.float64) if with_bias else 0
    shift = (before - mean) * factor + (beta if center else 0)
    np.testing.assert_allclose(layer.bias, shift, rtol=1e-6)
    weight = make.numbers(6, 4, 3, 3) * factor[:, None, None, None]
    np.testing.assert_allclose(layer.weight, weight, rtol=1e-6)
    # The product, the norm and its first result.
    assert len(layer.absorbed) == 3 + with_bias and layer.weight.dtype == np.float32
    assert isinstance(layer.root, relax.TupleGetItem)


NOT_FOLDED = {
    "behind a matrix": ("linear", normed, []),
    "over another axis": ("conv2d", lambda emit, y: normed(emit, y, axis=2), []),
    "of a batch's own moments": ("conv2d", lambda emit, y: normed(emit, y, training=True), []),
    "the running mean": ("conv2d", lambda emit, y: normed(emit, y, item=1), []),
    "with a variance of run time": (
        "conv2d", lambda emit, y, v: normed(emit, y, variance=v), [(6,)]
    ),
    "behind a clamp": ("conv2d", lambda emit, y: normed(emit, make.relu(emit, y)), []),
    "behind a clip": ("conv2d", lambda emit, y: normed(emit, clip(emit, y, -1, 1)), []),
    "behind a residual": (
        "conv2d", lambda emit, y, r: normed(emit, add(emit, y, r)), [(2, 6, 7, 6)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_batch_norms_that_are_the_hosts(case):
    kind, body, shapes = NOT_FOLDED[case]
    found = behind(kind, body, *shapes)
    assert "nn.batch_norm" in host(found) and only(found).bias is None


def test_a_norm_that_only_takes_the_result_as_parameter():
    """The result is another tensor's variance, not what is normalized."""

    def body(emit, y, image):
        variance = emit(op.reshape(emit(op.mean(y, (0, 2, 3))), (6,)))
        return normed(emit, image, variance=variance)

    found = behind("conv2d", body, (2, 6, 7, 6))
    assert only(found).bias is None and "nn.batch_norm" in host(found)


def requantized(body, *shapes) -> list[bool]:
    return [layer.requantize for layer in partition(make.module(body, *shapes)["main"], {}).layers]


def product(emit, x, n, seed=0):
    return emit(op.matmul(x, make.const(int(x.ty.shape.values[-1]), n, seed=seed)))


REQUANTIZED = {
    "one reader": (lambda emit, x: product(emit, product(emit, x, 8), 6), [True, False]),
    "two readers": (
        lambda emit, x: (
            lambda y: add(emit, product(emit, y, 6, 1), product(emit, y, 6, 2))
        )(product(emit, x, 8)),
        [True, False, False],
    ),
    "an output": (
        lambda emit, x: (lambda y: (y, product(emit, y, 6)))(product(emit, x, 8)),
        [False, False],
    ),
    "another operator reads it too": (
        lambda emit, x: (lambda y: (product(emit, y, 6), emit(op.sigmoid(y))))(product(emit, x, 8)),
        [False, False],
    ),
    "a residual": (
        lambda emit, x: (lambda y: add(emit, product(emit, y, 10), y))(product(emit, x, 10)),
        [False, False],
    ),
    "other rows": (
        lambda emit, x: product(emit, emit(op.reshape(product(emit, x, 8), (10, 4))), 6),
        [False, False],
    ),
    "an attention reads it": (
        lambda emit, x: (
            lambda y: emit(op.matmul(y, emit(op.permute_dims(y))))
        )(product(emit, x, 8)),
        [False, False],
    ),
    "nobody reads it": (lambda emit, x: (product(emit, x, 8), x)[1], [False]),
}  # fmt: skip


@pytest.mark.parametrize("case", REQUANTIZED)
def test_rows_that_only_linear_layers_read_leave_as_int8(case):
    body, expected = REQUANTIZED[case]
    assert requantized(body, ROWS) == expected


def test_a_weight_is_known_by_its_source_layout_too():
    """ONNX keeps ``(in, out)``, torch ``(out, in)``; a name without a dot is none of a layer."""
    mod = make.module(lambda emit, x: product(emit, product(emit, x, 8), 6, 1), ROWS)
    weights = make.numbers(10, 8), make.numbers(8, 6, seed=1)
    names = {digest(weights[0]): ["fc.weight"], digest(weights[1]): ["w6"]}
    assert [layer.name for layer in partition(mod["main"], names).layers] == ["fc", "linear1"]
    names = {digest(np.ascontiguousarray(weights[1].T)): ["head.weight"]}
    assert [layer.name for layer in partition(mod["main"], names).layers] == ["linear0", "head"]


def test_calls_of_other_functions_are_counted_by_name():
    builder = relax.BlockBuilder()

    def body(_emit, x):
        for name, sum_or_product in (("b", topi.add), ("a", topi.multiply), ("b", topi.add)):
            x = builder.emit_te(sum_or_product, x, x, primfunc_name_hint=name)
        return x

    make.add_function(builder, "main", body, ROWS)
    function = builder.get()["main"]
    assert function_calls(function) == ["b", "a", "b"]
    assert host(partition(function, {})) == ["b", "a", "b"]
