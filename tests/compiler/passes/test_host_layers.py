"""compiler/passes/host_layers.py: layers whose quantized weights the host computes with."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch
import tvm
from tvm import relax

import microscopiq as mq
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.llvm import build_for_llvm
from microscopiq.compiler.partition.constraints import IN_FP32
from microscopiq.compiler.passes.records import read_records
from microscopiq.compiler.quant.base import quantize_weight, values_of
from microscopiq.compiler.quant.recipe import Override, Recipe, load_recipe
from microscopiq.compiler.quant.statistics import Statistics
from microscopiq.compiler.tir.tokens import rounded_tokens
from microscopiq.target.errors import ConfigError, UnsupportedError
from tests.compiler import relax_modules as make

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


class Model(torch.nn.Module):
    """Convolution with batch norm and groups, a residual, linear layers in a row."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.wide, self.narrow = torch.nn.Linear(512, 64), torch.nn.Linear(64, 64)
        self.last = torch.nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x) + x)
        x = self.narrow(self.wide(x.flatten(1)))
        return self.last(torch.clamp(x, -1, 1))


@pytest.fixture(scope="module")
def model():
    return Model().eval()


@pytest.fixture(scope="module")
def imported(model):
    return load_model(model, (torch.from_numpy(X),))


def on_llvm(mod) -> np.ndarray:
    machine = relax.VirtualMachine(build_for_llvm(mod), tvm.cpu())
    out = machine["main"](tvm.runtime.tensor(X))
    return (out if hasattr(out, "numpy") else out[0]).numpy()


@pytest.mark.parametrize(
    "recipe",
    ["microscopiq-w4a16", "gptq-w4a16", "rtn-w2a16", "awq-w4a16", "w4a16", "w8a8-int", "w8a8-fp8"],
)
def test_the_host_computes_with_the_quantized_values(model, imported, recipe):
    samples = [X + step for step in np.float32([0.1, 0.2, 0.3])]
    quantized = mq.quantize(imported, recipe=recipe, calibration=samples)
    records = read_records(quantized).host_layers
    assert [row.layer for row in records] == ["first", "second", "wide", "narrow", "last"]
    assert all(row.held_out_error < 0.5 for row in records)
    assert read_records(quantized).layers == {}
    reasons = {(row.operator, row.times) for row in read_records(quantized).host}
    assert {("nn.conv2d", 2), ("matmul", 3)} <= reasons
    out = on_llvm(quantized)
    np.testing.assert_array_equal(mq.Session(mq.build(quantized)).run(X).outputs[0], out)


CODES = {"int8-token": (127, np.rint), "fp8-token": (448, None)}


def tokens(x: np.ndarray, activation: str) -> np.ndarray:
    """Return rows as an activation format for comparison has them; FP8 is that of ml_dtypes."""
    largest, nearest = CODES[activation]
    most = np.abs(x).max(axis=1, keepdims=True)
    scale = np.where(most > 0, most / np.float32(largest), np.float32(1))
    codes = x / scale
    codes = nearest(codes) if nearest else codes.astype(ml_dtypes.float8_e4m3fn)
    return codes.astype(np.float32) * scale


@pytest.mark.parametrize("activation", CODES)
def test_activations_for_comparison_to_the_bit(activation):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 500)) * np.exp2(rng.uniform(-12, 2, (60, 500)))
    x = x.astype(np.float32)
    x[3], x[4] = 0, 1e-30 * x[4]
    x[5, :3] = 448, 0.5 * 2**-9, 1.5 * 2**-9  # a scale of 1, and halves between subnormal codes
    function = rounded_tokens(60, 500, activation)
    built = build_for_llvm(tvm.IRModule({"main": function}))
    y = tvm.runtime.tensor(np.empty_like(x))
    built["main"](tvm.runtime.tensor(x), y)
    np.testing.assert_array_equal(y.numpy().view(np.int32), tokens(x, activation).view(np.int32))


@pytest.mark.parametrize("recipe", ["w8a8-int", "w8a8-fp8"])
def test_weights_and_tokens_are_multiplied(recipe):
    """Readers of one value share its rounding; the host says so."""

    def body(emit, x):
        return tuple(make.torch_linear(emit, x, n) for n in (5, 6))

    mod = make.module(body, (2, 3, 40))
    (x,) = make.inputs_of(mod)
    chosen = load_recipe(recipe)
    quantized = mq.quantize(mod, recipe=recipe, calibration=[x, x + 1])
    rows = tokens(x.reshape(6, 40), chosen.activation)
    statistics = Statistics(40)
    statistics.add(x.reshape(6, 40))
    statistics.add((x + 1).reshape(6, 40), held_out=True)
    for n, found in zip((5, 6), make.run_llvm(quantized, [x]), strict=True):
        weight = make.numbers(n, 40)
        method, fmt, options = chosen.for_layer("")
        stored, _ = quantize_weight(method, weight, fmt, "x", statistics, options)
        expected = rows @ stored.values.T + make.numbers(n)
        np.testing.assert_allclose(found.reshape(6, n), expected, atol=1e-5)
    host = read_records(quantized).host
    reason = f"rounds activations to {chosen.activation}, to compare"
    assert ("main", "quantize", reason, 1) in host


def rounded(weight: torch.Tensor) -> torch.Tensor:
    matrix = weight.reshape(len(weight), -1).numpy()
    found, _ = quantize_weight("rtn", matrix, "uint4-g128", "x")
    return torch.from_numpy(values_of(found)).reshape(weight.shape)


def test_rounded_values_in_torch_give_the_same(model, imported):
    copy = Model().eval()
    with torch.no_grad():
        # The batch norm is in the first layer's weights.
        factor = (1 / torch.sqrt(copy.norm.running_var + copy.norm.eps))[:, None, None, None]
        copy.first.weight.copy_(rounded(copy.first.weight * factor) / factor)
        for layer in (copy.wide, copy.narrow, copy.last):
            layer.weight.copy_(rounded(layer.weight))
        groups = copy.second.weight.chunk(2)
        copy.second.weight.copy_(torch.cat([rounded(group) for group in groups]))
        expected = copy(torch.from_numpy(X)).numpy()
    out = on_llvm(mq.quantize(imported, recipe="rtn-w4a16"))
    np.testing.assert_allclose(out, expected, rtol=2e-4, atol=2e-4)


def test_one_layer_on_the_host_among_others_on_the_array(imported):
    table = {
        "name": "mixed", "description": "", "method": "rtn", "weight_format": "int8",
        "activation": "mx-int8",
    }  # fmt: skip
    recipe = Recipe(**table, overrides=(Override("narrow", "rtn", "uint8-g32"),))
    quantized = mq.quantize(imported, recipe=recipe)
    assert [row.layer for row in read_records(quantized).host_layers] == ["narrow"]
    names = [row.layer for row in read_records(quantized).layers.values()]
    assert [name for name in names if not name.startswith("quantize")] == [
        "first", "second", "wide", "last",
    ]  # fmt: skip
    out = mq.Session(mq.build(quantized)).run(X).outputs[0]
    np.testing.assert_array_equal(out, on_llvm(quantized))
    exact = on_llvm(imported)
    assert np.linalg.norm(out - exact) < 0.02 * np.linalg.norm(exact)


def test_strict_refuses_layers_on_the_host(imported):
    with pytest.raises(UnsupportedError, match="no machine decodes weights in uint4-g128"):
        mq.build(imported, recipe="rtn-w4a16", strict=True)


def test_layers_kept_in_fp32_are_as_they_were(imported):
    """With all of them kept nothing is quantized; with one its neighbours give and read fp32."""
    everything = replace(load_recipe("int8"), overrides=(Override("*", weight_format="fp32"),))
    mod = mq.quantize(imported, everything)
    np.testing.assert_allclose(on_llvm(mod), on_llvm(imported), rtol=1e-4, atol=1e-5)
    assert not read_records(mod).layers
    kept = [row for row in read_records(mod).host if row.reason == IN_FP32]
    assert sum(row.times for row in kept) == 5
    narrow = replace(load_recipe("int8"), overrides=(Override("narrow", weight_format="fp32"),))
    mod = mq.quantize(imported, narrow)
    layers = {row.layer: row.work for row in read_records(mod).layers.values() if row.work}
    assert list(layers) == ["first", "second", "wide", "last"]
    assert not any("requantize" in work.fused for work in layers.values())
    executable = mq.build(mod)
    make.assert_equal_bits([on_llvm(mod)], mq.Session(executable).run(X).outputs)
    with pytest.raises(UnsupportedError, match="matmul: the recipe keeps this layer in fp32"):
        mq.build(imported, recipe=narrow, strict=True)


def test_an_override_for_no_layer_is_refused(imported):
    recipe = replace(load_recipe("int8"), overrides=(Override("headd", "rtn", "int4"),))
    message = r"no layer is called as override\(s\) headd say; the model's are: first, second, wide"
    with pytest.raises(ConfigError, match=message):
        mq.quantize(imported, recipe)
