"""compiler/passes: a quantized module on LLVM equals its program bit for bit, and is near fp32."""

import dataclasses

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq import Session, disassemble, quantize
from microscopiq.compiler.api import build
from microscopiq.compiler.driver import run_stages
from microscopiq.compiler.kinds.registry import from_attribute
from microscopiq.compiler.operators import ATTRIBUTE, Gemm
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.lower import TWO_ACTIVATIONS, quantized_functions
from microscopiq.compiler.quant.recipe import FP32, load_recipe, recipe_names
from microscopiq.target.arch import DEFAULT_ARCH, load_arch
from microscopiq.target.errors import ConfigError, InputError, UnsupportedError
from tests.compiler import relax_modules as make
from tests.tolerance import SQNR_DB


@pytest.mark.parametrize("name", make.MODELS)
def test_every_shape_of_layer(name):
    state = make.assert_right(make.model(name))
    layers = [row for row in state.layers.values() if row.kind not in ("quantize", "vector")]
    wanted = [tuple(text.split()) for text in make.MODELS[name][2]]
    assert sorted((row.kind, *row.work.fused) for row in layers) == sorted(wanted)


def attention(emit, x):
    """A layer's result as queries, keys and values of more tokens than a cache keeps whole."""
    y = make.linear(emit, x, 8)
    scores = emit(op.matmul(y, emit(op.permute_dims(y, [0, 2, 1]))))
    return emit(op.matmul(emit(op.nn.softmax(scores, -1)), y))


def flat(emit, x):
    """Layers whose weights have no outlier: all of one magnitude."""
    for n, k in ((320, 256), (192, 320)):
        weight = np.sign(make.numbers(k, n))
        x = emit(op.matmul(x, relax.const(weight)))
    return x


def test_networks_that_nothing_visits_change_no_schedule():
    """The tile was chosen for as many outliers as weights have on average."""
    codes = []
    for units in (1, 2, 4):
        arch = dataclasses.replace(load_arch("microscopiq-16x16"), recon_units=units)
        state = make.emitted(make.module(flat, (150, 256)), "microscopiq-w4a8", arch)
        records = [row.weights for row in state.layers.values() if row.weights]
        assert [weights.counts["flagged"] for weights in records] == [0, 0]
        codes.append([function.code for function in state.program.functions.values()])
    assert codes[0] == codes[1] == codes[2]


@pytest.mark.parametrize("recipe", sorted(set(SQNR_DB) - {"int8"}))
def test_every_recipe(recipe):
    caches = load_recipe(recipe).kv_cache != FP32
    mod = make.module(attention, (1, 140, 10)) if caches else make.model("chain")
    make.assert_right(mod, recipe)


def test_tolerances_cover_the_recipes():
    assert sorted(SQNR_DB) == recipe_names()


def weighted(k, n):
    return lambda emit, x: emit(op.matmul(x, make.const(k, n)))


def twice_the_same_weight(emit, x):
    weight = make.const(10, 10)
    y = make.relu(emit, emit(op.add(emit(op.matmul(x, weight)), make.const(10))))
    return emit(op.add(emit(op.matmul(y, weight)), make.const(10, seed=1)))


def equal_biases(emit, x):
    """Two layers that only their weights tell apart."""
    bias = relax.const(np.ones(10, np.float32))
    for seed in (1, 2):
        x = emit(op.sigmoid(emit(op.add(emit(op.matmul(x, make.const(10, 10, seed=seed))), bias))))
    return x


def also_an_output(emit, x):
    y = make.linear(emit, x, 10)
    return y, make.relu(emit, y), y


def read_by_two_layers(emit, x):
    y = make.linear(emit, x, 10)
    return make.linear(emit, y, 4, 1), make.linear(emit, y, 5, 2)


def read_by_a_layer_and_a_sum(emit, x):
    y = make.linear(emit, x, 10)
    return emit(op.add(make.linear(emit, y, 10, 1), y))


def two_groups_read_as_rows(emit, x):
    return make.linear(emit, make.linear(emit, x, 130, 1), 6, 2)


def split_into_heads(emit, x):
    y = emit(op.reshape(make.linear(emit, x, 12), (15, 4)))
    return make.linear(emit, y, 5, 1)


def same_operand_twice(emit, x):
    return emit(op.matmul(x, x))


EDGES = {
    "vector": (lambda emit, x: make.relu(emit, make.linear(emit, x, 6)), [(10,)]),
    "matrix of one row": (lambda emit, x: make.linear(emit, x, 6), [(1, 10)]),
    "five dimensions": (lambda emit, x: make.linear(emit, x, 6), [(2, 1, 2, 3, 10)]),
    "one input": (weighted(1, 6), [(5, 1)]),
    "one output": (weighted(10, 1), [(5, 10)]),
    "one of each": (weighted(1, 1), [(1, 1)]),
    "zero weights": (
        lambda emit, x: emit(op.matmul(x, relax.const(np.zeros((10, 6), np.float32)))),
        [(5, 10)],
    ),
    "one weight twice": (twice_the_same_weight, [(5, 10)]),
    "equal biases": (equal_biases, [(5, 10)]),
    "also an output": (also_an_output, [(5, 10)]),
    "read by two layers": (read_by_two_layers, [(5, 10)]),
    "read by a layer and a sum": (read_by_a_layer_and_a_sum, [(5, 10)]),
    "two groups": (two_groups_read_as_rows, [(3, 10)]),
    "split into heads": (split_into_heads, [(5, 10)]),
    "same operand twice": (same_operand_twice, [(3, 8, 8)]),
    "operands swapped in place": (lambda emit, x, w: emit(op.matmul(w, x)), [(8, 5), (7, 8)]),
}


@pytest.mark.parametrize("name", EDGES)
def test_edge(name):
    body, shapes = EDGES[name]
    make.assert_right(make.module(body, *shapes))


@pytest.mark.parametrize("recipe", ["microscopiq-w4a8", "microscopiq-w2a8"])
def test_zero_weights_have_no_outliers(recipe):
    body, shapes = EDGES["zero weights"]
    make.assert_right(make.module(body, *shapes), recipe)


def test_functions_have_weights_of_their_own():
    builder = relax.BlockBuilder()
    for seed, name in enumerate(("main", "other")):
        body = lambda emit, x, seed=seed: make.linear(emit, x, 6, seed)  # noqa: E731
        make.add_function(builder, name, body, (5, 10))
    state = make.assert_right(builder.get(), functions=("main", "other"))
    assert len({f.weights for f in state.program.functions.values() if f.weights}) == 2


def test_private_function_is_called_twice():
    builder = relax.BlockBuilder()
    make.add_function(builder, "sub", weighted(10, 10), (5, 10), private=True)
    sub = builder.get().get_global_var("sub")

    def body(emit, x):
        return emit(relax.Call(sub, [emit(relax.Call(sub, [x]))]))

    make.add_function(builder, "main", body, (5, 10))
    state = make.assert_right(builder.get())
    assert len(make.operators_of(state.program)) == 2  # one layer, one quantization


def test_input_of_two_dataflow_blocks():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((5, 10), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            first = builder.emit_output(op.matmul(x, make.const(10, 6, seed=1)))
        between = builder.emit(op.nn.softmax(first))
        with builder.dataflow():
            second = builder.emit_output(op.matmul(x, make.const(10, 6, seed=2)))
        builder.emit_func_output(builder.emit(op.add(between, second)))
    state = make.assert_right(builder.get())
    assert str(state.quantized).count("call_tir(cls.mq_quantize") == 1


def test_unbounded_batch_stays_on_the_host():
    rows = tvm.tirx.Var("n", "int64")

    def body(emit, x, y):
        return emit(op.matmul(x, make.const(4, 3))), make.linear(emit, y, 6)

    mod = make.module(body, (rows, 4), (5, 10))
    state = make.compiled(mod)
    reason = "all shapes must be known while compiling, or follow from sizes that have a bound"
    assert ("main", "matmul", reason, 1) in state.host
    for n in (1, 7):
        inputs = [make.numbers(n, 4), make.numbers(5, 10)]
        found = Session(state.executable).run(*inputs).outputs
        np.testing.assert_allclose(found[0], inputs[0] @ make.numbers(4, 3), rtol=1e-5, atol=1e-6)


def test_nothing_for_the_array():
    mod = make.module(lambda emit, x: emit(op.nn.softmax(x)), (5, 10))
    state = make.compiled(mod, vector=False)
    assert not state.program.functions
    result = Session(state.executable).run(*make.inputs_of(mod))
    assert (result.cycles, result.macs, result.utilisation, result.calls) == (0, 0, 0.0, [])
    assert state.host == (("main", "nn.softmax", "not a matrix product", 1),)
    assert disassemble(state.executable)


def test_quantizing_twice_changes_nothing():
    once = quantize(make.model("chain"), "int4")
    tvm.ir.assert_structural_equal(once, quantize(once, "int4"))
    with pytest.raises(ConfigError, match="already quantized by recipe 'int4', and recipe 'int8'"):
        quantize(once, "int8")
    tvm.ir.assert_structural_equal(once, quantize(make.model("chain"), "int4"))


def test_compiled_module_is_refused():
    state = run_stages(make.model("clip"), Options(recipe="int8", arch="tiny-4x4"))
    for again in (build, lambda mod: quantize(mod, "int8")):
        with pytest.raises(ConfigError, match="already compiled for tiny-4x4"):
            again(state.mod)


def test_format_without_a_decoder_is_refused():
    with pytest.raises(UnsupportedError, match=r"int8-64x64 can't decode weight format 'ms4'"):
        build(make.model("clip"), recipe="microscopiq-w4a8", arch="int8-64x64")


def test_machine_and_recipe_must_fit():
    message = "fineq-64x64 can't decode weight format 'ms4' .it decodes: fineq.; choose another"
    with pytest.raises(UnsupportedError, match=message):
        build(make.model("clip"), recipe="microscopiq-w4a8", arch="fineq-64x64")
    with pytest.raises(UnsupportedError, match=rf"{DEFAULT_ARCH} can't decode .* 'fineq'"):
        build(make.model("clip"), recipe="fineq-w2a8")


@pytest.mark.parametrize(
    ("arch", "recipe"), [("fineq-64x64", "fineq-w2a8"), ("int4-64x64", "int4")]
)
def test_product_of_two_activations_without_int8_weights(arch, recipe):
    """It stays on the host, counted, and in the bits of every other machine."""
    mod = make.module(
        lambda emit, x, y: emit(op.matmul(make.linear(emit, x, 8), y)), (2, 5, 10), (2, 8, 7)
    )
    quantized = quantize(mod, recipe)
    before = quantized.script()
    state = make.compiled(quantized, recipe, arch, vector=False)
    assert quantized.script() == before
    kinds = sorted(row.kind for row in state.layers.values())
    assert kinds == ["linear", "quantize", "quantize", "quantize"]
    assert state.host == (("main", "matmul", TWO_ACTIVATIONS, 1),)
    assert len(make.operators_of(state.program)) == 4
    inputs = make.inputs_of(mod)
    found = Session(state.executable).run(*inputs).outputs
    make.assert_equal_bits(make.run_llvm(state.quantized, inputs), found)
    other = Session(build(quantized, "tiny-4x4", vector=False)).run(*inputs)
    make.assert_equal_bits(other.outputs, found)
    with pytest.raises(UnsupportedError) as error:
        build(mod, arch, recipe, strict=True)
    assert str(error.value).splitlines() == [
        "1 operator(s) can't run on the array:",
        f"  matmul: {TWO_ACTIVATIONS} ({arch}: {', '.join(load_arch(arch).weight_formats)})",
    ]
    build(make.model("clip"), arch, recipe, strict=True)


def test_weight_that_is_no_number_is_named():
    weight = make.numbers(10, 6).copy()
    weight[3, 2] = np.nan
    mod = make.module(lambda emit, x: emit(op.matmul(x, relax.const(weight))), (5, 10))
    with pytest.raises(InputError, match=r"layer 'linear0': weight\[2, 3\] is nan"):
        quantize(mod, "int8")


def test_cumsum_of_booleans_counts():
    builder = relax.BlockBuilder()
    body = lambda emit, x: emit(op.cumsum(x, axis=1))  # noqa: E731
    make.add_function(builder, "main", body, (2, 5), dtype="bool")
    mod = run_stages(builder.get(), Options(stop_after="import")).mod
    x = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 1, 1]], bool)
    (found,) = make.run_llvm(mod, [x])
    np.testing.assert_array_equal(found, np.cumsum(x, axis=1))


def test_a_loud_pixel_takes_no_bits_of_the_others():
    """A convolution of one tap quantizes each pixel alone: outputs read no two of them."""
    mod = make.module(lambda emit, x: make.conv(emit, x, 7, (1, 1)), (2, 130, 6, 5))
    state = make.assert_right(mod)
    image = np.random.default_rng(3).standard_normal((2, 130, 6, 5)).astype(np.float32)
    loud = image.copy()
    loud[1, :, 2, 3] *= 2.0**20
    quiet, other = (Session(state.executable).run(x).outputs[0] for x in (image, loud))
    np.testing.assert_array_equal(other[1, :, 2, 3], quiet[1, :, 2, 3] * 2.0**20)
    loud[1, :, 2, 3] = image[1, :, 2, 3]
    other[1, :, 2, 3] = quiet[1, :, 2, 3]
    np.testing.assert_array_equal(other, quiet)


@pytest.mark.parametrize(
    "kernel, what",
    [
        ((3, 3), {"padding": 1}),
        ((3, 3), {"padding": 1, "groups": 9}),
        ((1, 1), {"strides": 2}),
        ((1, 1), {"strides": 2, "padding": 1}),
        ((1, 1), {"groups": 3}),
    ],
    ids=str,
)
def test_what_reads_more_or_less_than_each_pixel_has_exponents_of_images(kernel, what):
    mod = make.module(lambda emit, x: make.conv(emit, x, 9, kernel, **what), (2, 9, 3, 3))
    found = quantized_functions(make.assert_right(mod).placed)
    operators = [from_attribute(str(func.attrs[ATTRIBUTE])) for _, func in found]
    assert [op.by_image for op in operators if isinstance(op, Gemm)] == [True]


def test_a_loud_group_of_channels_takes_no_bits_of_the_others():
    """Each group of a convolution's channels has an exponent of its own, in every image."""
    mod = make.module(lambda emit, x: make.conv(emit, x, 4, groups=4), (2, 4, 6, 6))
    state = make.assert_right(mod)
    image = np.random.default_rng(3).standard_normal((2, 4, 6, 6)).astype(np.float32)
    loud = image.copy()
    loud[0, 1] *= 2.0**20
    quiet, other = (Session(state.executable).run(x).outputs[0] for x in (image, loud))
    np.testing.assert_array_equal(np.delete(other[0], 1, 0), np.delete(quiet[0], 1, 0))
    np.testing.assert_array_equal(other[0, 1], quiet[0, 1] * 2.0**20)
    np.testing.assert_array_equal(other[1], quiet[1])
