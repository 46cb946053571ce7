"""Activations in blocks of 32 and 16: in linear layers, convolutions and attention."""

import json

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.operators import ATTRIBUTE
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.rewrite.gemm import LAYER
from microscopiq.compiler.quant.recipe import Recipe, load_recipe
from microscopiq.compiler.verify import run_reference
from microscopiq.runtime.session import Session
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError, UnsupportedError
from microscopiq.target.formats import ACTIVATION_FORMATS, DEFAULT_ACTIVATION
from tests.compiler import relax_modules as make
from tests.distinct_formats import method_of
from tests.numpy_calls import check_calls

BLOCKED = {
    "mxint4": "mxint4",
    "mxint6": "mxfp4",
    "mxint8": "mxint8",
    "mxint4-g16": "nvint4",
    "mxint8-g16": "nvfp4",
}
"""Of activations, and weights with groups as long."""
SHAPE = (2, 6, 7, 8)


def body(emit, x):
    """Return convolutions of all kinds, linear layers in a row, and attention."""
    y = emit(
        op.nn.conv2d(x, make.const(9, 6, 3, 2), padding=(1, 0, 2, 1), strides=(2, 1), dilation=2)
    )
    y = emit(op.nn.relu(emit(op.add(y, make.const(1, 9, 1, 1)))))
    y = emit(op.nn.conv2d(y, make.const(9, 1, 2, 2), groups=9))
    y = emit(op.nn.conv2d(y, make.const(40, 9, 1, 1)))
    y = emit(op.nn.conv2d(y, make.const(8, 40, 1, 1), strides=2))
    y = emit(op.reshape(y, (2, 24)))
    y = emit(op.matmul(y, make.const(24, 37)))
    y = emit(op.matmul(y, make.const(37, 160)))
    heads = emit(op.reshape(y, (2, 4, 40)))
    return emit(op.matmul(heads, emit(op.permute_dims(heads, (0, 2, 1)))))


def compiled(body, shape, activation, weights="", **by_role):
    weights = weights or BLOCKED[activation]
    recipe = Recipe("blocks", "", method_of(weights), weights, activation, activations=by_role)
    return compile_model(make.module(body, shape), Options(recipe=recipe, arch="tiny-4x4"))


@pytest.mark.parametrize("activation", BLOCKED)
def test_all_ways_of_computing_agree(activation):
    check(compiled(body, SHAPE, activation))


ROLES = {
    "ms4-g32": ("mxint4", {"inputs": "mxint8", "attention": "mx-int8", "nonnegative": "mxuint4"}),
    "ms4-g16": ("mxint4-g16", {"nonnegative": "mxuint4-g16", "attention": "mxint6-g16"}),
    "int4": ("mx-int4", {"inputs": "mx-int8", "nonnegative": "mxuint4-g128"}),
}


@pytest.mark.parametrize("weights", ROLES)
def test_roles_of_inputs_have_formats_of_their_own(weights):
    activation, by_role = ROLES[weights]
    state = compiled(body, SHAPE, activation, weights, **by_role)
    check(state)
    assert formats(state) == [
        *(by_role.get(role, activation) for role in ("inputs", "nonnegative", "", "", "", "")),
        by_role.get("attention", activation),
    ]


def formats(state) -> list[str]:
    """Return the activation format of each layer, in the order of the model."""
    found = {}
    for function in state.quantized.functions.values():
        attributes = function.attrs or {}
        operator = json.loads(str(attributes.get(ATTRIBUTE, "{}")))
        if "conv_groups" in operator:
            number = int(str(attributes[LAYER]).split()[0])
            found[number] = operator.get("activation", DEFAULT_ACTIVATION)
    return [found[number] for number in sorted(found)]


def check(state) -> None:
    """All layers are on the array; LLVM, NumPy and both modes of the simulator agree."""
    x = make.numbers(*SHAPE)
    kinds = [row.kind for row in state.layers.values()]
    assert [kinds.count(kind) for kind in ("conv2d", "linear", "attention")] == [4, 2, 1]
    assert not state.host
    (expected,) = run_reference(state, [x])
    for mode in ("fast", "structural"):
        (found,) = Session(state.executable, mode=mode).run(x).outputs
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32), mode)
    assert check_calls(state.executable, [x], load_arch("tiny-4x4")) >= 1


def in_a_row(emit, x):
    y = emit(op.matmul(x, make.const(40, 37)))
    return emit(op.matmul(y, make.const(37, 24)))


@pytest.mark.parametrize("inputs", ["mx-int8", "mx-int4"])
def test_codes_go_from_layer_to_layer_in_one_format(inputs):
    state = compiled(in_a_row, (5, 40), "mx-int4", "int4", inputs=inputs)
    assert formats(state) == [inputs, "mx-int4"]
    fused = [row.work.fused for row in state.layers.values() if row.kind == "linear"]
    assert fused == [("requantize",) if inputs == "mx-int4" else (), ()]
    x = make.numbers(5, 40)
    (expected,) = run_reference(state, [x])
    (found,) = Session(state.executable).run(x).outputs
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))


def test_a_machine_whose_pes_take_4_bits_gets_no_wider_ones():
    by_role = {"inputs": "mx-int8"}
    recipe = Recipe("mine", "", "olive", "olive4", "mx-int4", activations=by_role)
    with pytest.raises(UnsupportedError, match="by activations of up to 4 bits, and 'mx-int8' has"):
        compile_model(make.module(in_a_row, (5, 40)), Options(recipe=recipe, arch="olive-64x64"))


def test_codes_without_a_sign_have_twice_the_levels():
    """What is behind ReLU is rounded to 15 levels of a block's power of two, as 5 bits would."""
    weight = relax.const(np.eye(32, dtype=np.float32))

    def behind_relu(emit, x):
        return emit(op.matmul(emit(op.nn.relu(x)), weight))

    x = make.numbers(7, 32)
    state = compiled(behind_relu, x.shape, "mxint4", "int4-g32", nonnegative="mxuint4")
    (found,) = Session(state.executable).run(x).outputs
    seen = np.maximum(x, 0).astype(np.float64)
    step = 2.0 ** (np.floor(np.log2(seen.max(-1, keepdims=True))) - 3)
    # The identity's weights are 7 steps of a scale that fp16 rounds.
    one = np.float32(7) * np.float32(np.float16(1 / 7))
    np.testing.assert_allclose(found, np.clip(np.rint(seen / step), 0, 15) * step * one, rtol=1e-6)


def rounded(rows, name):
    """Return float32 rows as blocks of a format hold them, by the formulas of OCP MX."""
    row = ACTIVATION_FORMATS[name]
    result = np.zeros_like(rows)
    for first in range(0, rows.shape[-1], row.group):
        block = rows[..., first : first + row.group].astype(np.float64)
        largest = np.abs(block).max(-1, keepdims=True)
        step = 2.0 ** (np.floor(np.log2(np.maximum(largest, 2.0**-100))) - (row.bits - 2))
        codes = np.clip(np.rint(block / step), -row.q_max, row.q_max)
        result[..., first : first + row.group] = codes * step
    return result


@pytest.mark.parametrize("activation", BLOCKED)
def test_a_pixel_of_a_convolution_has_scales_of_its_own(activation):
    """Loud pixels and channels take no bits of the others."""
    weight = np.random.default_rng(1).standard_normal((5, 12, 3, 2)).astype(np.float32)
    # Powers of two, which every format holds.
    weight = np.sign(weight) * np.float32(0.5)
    x = make.numbers(2, 12, 6, 5)
    x[:, :, 2, 3] *= 1000
    x[0, 4] *= 50
    how = {"padding": (1, 2, 1, 1), "strides": (2, 1), "dilation": (1, 2)}

    def conv(emit, x):
        return emit(op.nn.conv2d(x, relax.const(weight), **how))

    state = compiled(conv, x.shape, activation)
    (found,) = Session(state.executable).run(x).outputs
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    rows = np.moveaxis(windows[:, :, ::2, :, :, ::2], 1, 3).reshape(2, 3, 6, 72)
    expected = np.moveaxis(rounded(rows, activation) @ weight.reshape(5, 72).T, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-3)


@pytest.mark.parametrize("name", ["mxint4", "mxint6", "mxint8"])
def test_recipes(name):
    recipe = load_recipe(name)
    assert (recipe.weight_format, recipe.activation) == (name, name)


def test_blocks_are_the_groups_of_the_weights(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ndescription = ""\nmethod = "rtn"\nweight_format = "mxint4"\n'
        'activation = "mxint4"\n[[overrides]]\npattern = "a*"\nmethod = "rtn"\n'
        'weight_format = "int8"\n[[overrides]]\npattern = "b*"\nweight_format = "fp32"\n'
    )
    with pytest.raises(ConfigError) as error:
        load_recipe(file)
    assert (
        "weight_format = 'int8' has groups of 128 inputs beside activation = 'mxint4' with blocks "
        "of 32: allowed int4-g32, mxint4, mxint6, mxint8, mxfp4, mxfp6" in str(error.value)
    )
    assert "1 mistake" in str(error.value)
