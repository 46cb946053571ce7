"""compiler/partition: what a layer absorbs, and why an operator stays on the host."""

import dataclasses

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op
from tvm.script import relax as R

from microscopiq import quantize
from microscopiq.compiler.api import build
from microscopiq.compiler.driver import run_stages
from microscopiq.compiler.frontend.indices import check_indices
from microscopiq.compiler.names import CHECK, digest
from microscopiq.compiler.options import Options
from microscopiq.compiler.partition import constraints as rules
from microscopiq.compiler.partition.constraints import CONSTRAINTS
from microscopiq.compiler.partition.partition import partition, partition_module
from microscopiq.compiler.sizes import UPPER, bounded, with_bounds
from microscopiq.target.errors import UnsupportedError
from tests.compiler import relax_modules as make


def parts(mod, names=None):
    with with_bounds(bounded(mod, {})):
        return partition(mod["main"], names or {})


def words(layer) -> str:
    """Return a layer's kind and what it absorbed."""
    fused = {
        "bias": layer.bias is not None,
        "residual": layer.residual is not None,
        "clamp": layer.low is not None or layer.high is not None,
        "requantize": layer.requantize,
    }
    return " ".join([layer.kind, *(name for name, present in fused.items() if present)])


@pytest.mark.parametrize("name", make.MODELS)
def test_layers_and_host_operators(name):
    _, _, layers, host = make.MODELS[name]
    found = parts(make.model(name))
    assert [words(layer) for layer in found.layers] == layers
    assert [operator for operator, _ in found.host] == host


def matmul(*shapes, constant_left=False, constant_right=False):
    def body(emit, *inputs):
        left = make.const(*shapes[0]) if constant_left else inputs[0]
        right = make.const(*shapes[1]) if constant_right else inputs[-1]
        return emit(op.matmul(left, right))

    free = [
        s for s, fixed in zip(shapes, (constant_left, constant_right), strict=True) if not fixed
    ]
    return make.module(body, *free)


def conv2d(image, kernel, **attrs):
    return make.module(lambda emit, x, w: emit(op.nn.conv2d(x, w, **attrs)), image, kernel)


def constant_conv2d(image, kernel, **attrs):
    body = lambda emit, x: emit(op.nn.conv2d(x, make.const(*kernel), **attrs))  # noqa: E731
    return make.module(body, image)


@tvm.script.ir_module
class Dynamic:
    @R.function
    def main(x: R.Tensor(("n", 4), "float32"), w: R.Tensor((4, 3), "float32")):
        with R.dataflow():
            y = R.matmul(x, w)
            R.output(y)
        return y


def dynamic_conv2d():
    rows = tvm.tirx.Var("h", "int64")
    body = lambda emit, x: emit(op.nn.conv2d(x, make.const(2, 3, 3, 3)))  # noqa: E731
    return make.module(body, (1, 3, rows, 6))


def up_to(most: int, body, *shapes, name: str = "n"):
    """Return a module in whose shapes a size of that name has a bound."""
    mod = make.module(body, *shapes)
    mod["main"] = mod["main"].with_attr(UPPER, {name: most})
    return mod


def image_of_any_height():
    rows = tvm.tirx.Var("h", "int64")
    body = lambda emit, x: emit(op.nn.conv2d(x, make.const(2, 3, 3, 3)))  # noqa: E731
    return up_to(16, body, (1, 3, rows, 6), name="h")


def given_8_bits(body, kernel, *shape):
    """Return a product with given weights of 8 bits and rows or images of any number."""
    codes = relax.const(np.full(kernel, 3, np.int8))
    scale, zero = relax.const(np.float32(0.1)), relax.const(np.int8(0))
    number = lambda emit: emit(op.dequantize(codes, scale, zero))  # noqa: E731
    batch = tvm.tirx.Var("n", "int64")
    return up_to(16, lambda emit, x: emit(body(x, number(emit))), (batch, *shape))


def half(body, *shapes):
    builder = relax.BlockBuilder()
    make.add_function(builder, "main", body, *shapes, dtype="float16")
    return builder.get()


def long_sums():
    """Return a convolution whose single input channel has too many taps to be cut."""
    kernel = relax.const(np.full((1, 1, 33, 33), -128, np.int8))
    builder = relax.BlockBuilder()
    body = lambda emit, x: emit(op.nn.conv2d(x, kernel, out_dtype="int32"))  # noqa: E731
    make.add_function(builder, "main", body, (1, 1, 40, 40), dtype="int8")
    return builder.get()


def beyond_8_bits(body, *shape):
    """Return a product with given weights that need 9 bits without their zero points."""
    codes = relax.const(np.full(shape[1], 255, np.uint8))
    scale, zero = relax.const(np.float32(0.1)), relax.const(np.uint8(0))
    number = lambda emit: emit(op.dequantize(codes, scale, zero))  # noqa: E731
    return make.module(lambda emit, x: emit(body(x, number(emit))), shape[0])


BROKEN = {
    ("matmul", rules.bounded_shapes): lambda: Dynamic,
    ("matmul", rules.number_types): lambda: half(
        lambda emit, a, b: emit(op.matmul(a, b)), (3, 4), (4, 5)
    ),
    ("matmul", rules.not_constant_left): lambda: matmul((3, 4), (4, 5), constant_left=True),
    ("matmul", rules.matrix_operands): lambda: matmul((4,), (4, 5)),
    ("matmul", rules.equal_batches): lambda: matmul((2, 3, 4), (4, 5)),
    ("matmul", rules.given_weights): lambda: beyond_8_bits(op.matmul, (3, 4), (4, 5)),
    ("matmul", rules.known_integers): lambda: given_8_bits(op.matmul, (4, 5), 4),
    ("matmul", rules.not_empty): lambda: matmul((0, 4), (4, 5), constant_right=True),
    ("nn.conv2d", rules.bounded_shapes): dynamic_conv2d,
    ("nn.conv2d", rules.number_types): lambda: half(
        lambda emit, x, w: emit(op.nn.conv2d(x, w)), (1, 3, 6, 6), (2, 3, 3, 3)
    ),
    ("nn.conv2d", rules.constant_kernel): lambda: conv2d((1, 3, 6, 6), (2, 3, 3, 3)),
    ("nn.conv2d", rules.nchw_layout): lambda: constant_conv2d(
        (1, 6, 6, 3), (2, 3, 3, 3), data_layout="NHWC"
    ),
    ("nn.conv2d", rules.short_sides): lambda: constant_conv2d((1, 1, 1, 1 << 16), (2, 1, 1, 9)),
    ("nn.conv2d", rules.exact_sums): long_sums,
    ("nn.conv2d", rules.given_weights): lambda: beyond_8_bits(
        op.nn.conv2d, (1, 3, 6, 6), (2, 3, 3, 3)
    ),
    ("nn.conv2d", rules.known_image): image_of_any_height,
    ("nn.conv2d", rules.known_integers): lambda: given_8_bits(op.nn.conv2d, (2, 3, 3, 3), 3, 6, 6),
    ("nn.conv2d", rules.not_empty): lambda: constant_conv2d((0, 3, 6, 6), (2, 3, 3, 3)),
}


WRITTEN_OTHERWISE = (
    rules.not_constant_left,
    rules.matrix_operands,
    rules.equal_batches,
    rules.short_sides,
)
"""What the array doesn't take, but `passes.products` makes into what it takes."""


def test_every_constraint_has_a_module_that_breaks_it():
    wanted = {(name, check) for name, checks in CONSTRAINTS.items() for check in checks}
    assert set(BROKEN) == wanted


@pytest.mark.parametrize("name, check", BROKEN, ids=lambda v: getattr(v, "__name__", v))
def test_does_not_apply(name, check):
    mod = BROKEN[name, check]()
    found = parts(mod)
    assert not found.layers
    assert (name, check.__doc__) in found.host
    if check in WRITTEN_OTHERWISE:
        assert run_stages(mod, Options("int8", stop_after="quantize", strict=True)).layers
        return
    with pytest.raises(UnsupportedError) as error:
        build(mod, strict=True)
    assert f"{name}: {check.__doc__}" in str(error.value)


def test_vector_operand_is_no_matrix():
    assert not parts(matmul((4,), (4, 5))).layers


def test_strict_lists_each_reason_once_and_counts_operators():
    def body(emit, x, w):
        y = emit(op.nn.conv2d(x, w))
        half = emit(op.astype(emit(op.reshape(w, (3, 3))), "float16"))
        product = emit(op.matmul(half, half))
        return emit(op.nn.conv2d(y, w)), product

    mod = make.module(body, (1, 3, 5, 5), (3, 3, 1, 1))
    with pytest.raises(UnsupportedError) as error:
        build(mod, strict=True)
    text = str(error.value)
    assert text.startswith("3 operator(s) can't run on the array:")
    assert text.count("nn.conv2d: ") == 1 and text.count("matmul: ") == 1
    assert quantize(mod, "int8") is not None


STAYS_OUT = {
    "another user": lambda emit, y: (relu(emit, y), emit(op.sigmoid(y))),
    "full constant": lambda emit, y: emit(op.add(y, make.const(5, 8))),
    "constant of rows": lambda emit, y: emit(op.add(y, make.const(5, 1))),
    "constant that widens": lambda emit, y: emit(op.add(y, make.const(3, 5, 8))),
    "bias of split columns": lambda emit, y: emit(
        op.add(emit(op.reshape(y, (10, 4))), make.const(4))
    ),
    "after a clamp": lambda emit, y: emit(op.add(relu(emit, y), make.const(8))),
    "second bias": lambda emit, y: emit(
        op.add(emit(op.add(y, make.const(8))), make.const(8, seed=1))
    ),
    "leaky": lambda emit, y: emit(op.nn.leakyrelu(y)),
}
FUSED_BEFORE = {"after a clamp": "linear clamp", "second bias": "linear bias"}
relu = make.relu


@pytest.mark.parametrize("case", STAYS_OUT)
def test_not_absorbed(case):
    def body(emit, x):
        return STAYS_OUT[case](emit, emit(op.matmul(x, make.const(10, 8))))

    found = parts(make.module(body, (5, 10)))
    assert [words(layer) for layer in found.layers] == [FUSED_BEFORE.get(case, "linear")]
    assert found.host


def test_output_is_not_fused_past():
    def body(emit, x):
        y = make.linear(emit, x, 8)
        return y, relu(emit, y), make.linear(emit, y, 3)

    assert [words(layer) for layer in parts(make.module(body, (5, 10))).layers] == [
        "linear bias",
        "linear bias",
    ]


def test_names_come_from_weight_then_bias_then_a_counter():
    def body(emit, x):
        x = make.torch_linear(emit, x, 12)
        x = make.linear(emit, x, 7)
        return emit(op.matmul(x, make.const(7, 3)))

    names = {digest(make.numbers(12, 10)): ["fc.weight"], digest(make.numbers(7)): ["head.bias"]}
    layers = parts(make.module(body, (2, 3, 10)), names).layers
    assert [layer.name for layer in layers] == ["fc", "head", "linear2"]


def test_equal_layers_keep_names_of_their_own():
    """Whichever way round the source has a matrix; of more names than layers the later ones."""
    weight = make.numbers(6, 6)

    def body(emit, x):
        for _ in range(2):
            x = make.relu(emit, emit(op.matmul(x, relax.const(weight))))
        return emit(op.matmul(x, make.const(6, 3)))

    mod = make.module(body, (2, 6))
    one, two, three = (
        ["a.weight"],
        ["a.weight", "b.weight"],
        ["table", "e.weight", "a.weight", "b.weight"],
    )
    for names, wanted in ((one, ["a", "a"]), (two, ["a", "b"]), (three, ["a", "b"])):
        for source in (weight, weight.T):
            layers = parts(mod, {digest(source): names}).layers
            assert [layer.name for layer in layers] == [*wanted, "linear2"]


def test_batch_norm_is_folded_in_float64():
    layer = parts(make.model("conv norm")).layers[0]
    gamma, beta, mean = (make.numbers(6, seed=seed).astype(np.float64) for seed in (1, 2, 3))
    variance = (np.abs(make.numbers(6, seed=4)) + np.float32(0.1)).astype(np.float64)
    factor = gamma / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(layer.bias, beta - mean * factor, rtol=1e-6)
    weight = make.numbers(6, 4, 3, 3) * factor[:, None, None, None]
    np.testing.assert_allclose(layer.weight, weight, rtol=1e-6)


def test_layers_of_a_module_have_numbers_of_their_own():
    """Two functions of three layers each: what a pass finds out is kept by the number."""
    builder = relax.BlockBuilder()
    for name in ("main", "other"):
        make.add_function(builder, name, make.mlp, (2, 3, 10))
    parts = partition_module(builder.get(), {})
    assert [[layer.number for layer in part.layers] for part in parts.values()] == [
        [0, 1, 2], [3, 4, 5],
    ]  # fmt: skip
    # The first two leave int8 rows for the next one.
    for first, part in zip((0, 3), parts.values(), strict=True):
        assert [layer.source for layer in part.layers] == [None, first, first + 1]


def test_a_layer_cannot_change():
    (layer,) = parts(make.model("onnx linear")).layers
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.bias = None


def test_what_is_no_operator_of_the_model_is_not_listed():
    """A check of indices, and what gives a state its first value."""

    def body(emit, x):
        return emit(op.take(x, emit(op.astype(x, "int64")), axis=0))

    builder = relax.BlockBuilder()
    make.add_function(builder, "main", body, (4,))
    make.add_function(builder, "state_cache", lambda emit: emit(op.zeros((4,), "float32")))
    mod = check_indices(builder.get())
    assert CHECK in {gv.name_hint for gv in mod.functions}
    found = {gv.name_hint: part.host for gv, part in partition_module(mod, {}).items()}
    other = "not a matrix product"
    assert found == {"main": (("astype", other), ("take", other)), "state_cache": ()}
