"""compiler/passes/migration: the same module in fp32, and less lost to outlier channels."""

import collections
import dataclasses

import numpy as np
import pytest
import torch
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq import load_model, quantize
from microscopiq.compiler.partition.graph import Graph
from microscopiq.compiler.partition.partition import partition_module
from microscopiq.compiler.passes.migration.factors import (
    EXPONENTS,
    FACTOR_RANGE,
    ActivationAware,
    SmoothQuant,
    powers,
    smoothing,
)
from microscopiq.compiler.passes.migration.migrate import MULTIPLY, migrate
from microscopiq.compiler.passes.migration.rescale import FOLDED, INPUT_AXES, MULTIPLIED, unshaped
from microscopiq.compiler.passes.records import read_records
from microscopiq.compiler.quant.base import quantize_weight, values_of
from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.compiler.quant.statistics import Statistics
from microscopiq.runtime.session import Session
from microscopiq.target.errors import ConfigError, InputError
from tests.compiler import relax_modules as make
from tests.tolerance import sqnr_db

MIGRATED = dataclasses.replace(load_recipe("microscopiq-w4a4"), name="migrated", migration=0.7)


def norm(emit, x, **attrs):
    n = int(x.ty.shape.values[-1])
    return emit(op.nn.layer_norm(x, make.const(n, seed=5), make.const(n, seed=6), -1, **attrs))


def behind(change):
    """Return a body: a linear layer, a change of its result, and another linear layer."""
    return lambda emit, x: make.linear(emit, change(emit, make.linear(emit, x, 12)), 6, 1)


def shared(emit, x):
    y = norm(emit, x)
    return tuple(make.linear(emit, y, n, n) for n in (5, 6, 7))


def shared_views(emit, x):
    """Each reader has a view of its own, as torch's exporter writes it."""
    y = norm(emit, x)
    return tuple(make.torch_linear(emit, y, n) for n in (5, 6))


def views_of_an_input(emit, x):
    return tuple(make.torch_linear(emit, x, n) for n in (5, 6))


def norm_and_residual(emit, x):
    y = norm(emit, x)
    return emit(op.add(y, make.linear(emit, y, 10)))


def norm_is_output(emit, x):
    y = norm(emit, x)
    return y, make.linear(emit, y, 6)


def rms_norm(emit, x):
    mean = emit(op.mean(emit(op.multiply(x, x)), axis=[-1], keepdims=True))
    scaled = emit(op.multiply(x, emit(op.rsqrt(emit(op.add(mean, make.const(1)))))))
    return make.linear(emit, emit(op.multiply(make.const(10, seed=3), scaled)), 6)


def gated(emit, x):
    gate = emit(op.nn.silu(make.linear(emit, x, 12, 1)))
    return make.linear(emit, emit(op.multiply(gate, make.linear(emit, x, 12, 2))), 6, 3)


def conv_norm_conv(emit, x):
    y = make.relu(emit, make.batch_norm(emit, make.conv(emit, x, 6)))
    return make.bias_4d(emit, make.conv(emit, y, 8, groups=2, seed=1))


def two_of_one(emit, x):
    """Both layers read the input, and the first one's columns and rows are divided."""
    y = make.linear(emit, x, 12, 1)
    return make.linear(emit, make.relu(emit, y), 6, 2), make.linear(emit, x, 7, 3)


ROWS, IMAGE = (2, 3, 10), make.IMAGE
BODIES = {
    # name: (body, input's shape, how many layers' factors are folded, how many multiplied)
    "input": (lambda emit, x: make.linear(emit, x, 6), ROWS, 0, 1),
    "input of two views": (views_of_an_input, ROWS, 0, 2),
    "layer norm": (lambda emit, x: make.linear(emit, norm(emit, x), 6), ROWS, 1, 0),
    "norm without beta": (
        lambda emit, x: make.linear(emit, norm(emit, x, center=False), 6), ROWS, 1, 0,
    ),
    "norm without gamma": (
        lambda emit, x: make.linear(emit, norm(emit, x, scale=False), 6), ROWS, 0, 1,
    ),
    "norm of another axis": (
        lambda emit, x: make.linear(
            emit, emit(op.nn.layer_norm(x, make.const(3), make.const(3), 1)), 6
        ), ROWS, 0, 1,
    ),
    "rms norm": (rms_norm, ROWS, 1, 0),
    "rms norm in one": (
        lambda emit, x: make.linear(emit, emit(op.nn.rms_norm(x, make.const(10))), 6), ROWS, 1, 0,
    ),
    "three readers": (shared, ROWS, 3, 0),
    "two views": (shared_views, ROWS, 2, 0),
    "norm is a residual": (norm_and_residual, ROWS, 0, 1),
    "norm is an output": (norm_is_output, ROWS, 0, 1),
    "requantized": (behind(lambda emit, y: y), ROWS, 1, 1),
    "relu": (behind(make.relu), ROWS, 1, 1),
    "relu6": (behind(lambda emit, y: emit(op.clip(y, 0, 6))), ROWS, 0, 2),
    "gelu": (behind(lambda emit, y: emit(op.nn.gelu(y))), ROWS, 0, 2),
    "scalar factor": (
        behind(lambda emit, y: emit(op.multiply(y, relax.const(np.float32(0.5))))), ROWS, 1, 1,
    ),
    "square": (behind(lambda emit, y: emit(op.multiply(y, y))), ROWS, 0, 2),
    "twice": (behind(lambda emit, y: emit(op.add(y, y))), ROWS, 0, 2),
    "quotient": (behind(lambda emit, y: emit(op.divide(y, make.const(12, seed=8)))), ROWS, 1, 1),
    "reciprocal": (
        behind(lambda emit, y: emit(op.divide(make.const(3, 12), emit(op.exp(y))))), ROWS, 1, 1,
    ),
    "difference": (behind(lambda emit, y: emit(op.subtract(make.const(12), y))), ROWS, 1, 1),
    "residual": (lambda emit, x: make.linear(
        emit, emit(op.add(make.linear(emit, x, 10), x)), 6, 1), ROWS, 0, 2),
    "gated": (gated, ROWS, 1, 2),
    "rows and columns": (two_of_one, ROWS, 1, 2),
    "heads": (
        behind(lambda emit, y: emit(op.reshape(y, (2, 3, 3, 4)))), ROWS, 0, 2,
    ),
    "batch norm": (conv_norm_conv, IMAGE, 1, 1),
    "depthwise": (lambda emit, x: make.conv(emit, x, 4, groups=4), IMAGE, 0, 1),
    "conv and relu": (lambda emit, x: make.conv(
        emit, make.relu(emit, make.bias_4d(emit, make.conv(emit, x, 6))), 4, seed=1),
        IMAGE, 1, 1),
}  # fmt: skip


def partitions(mod):
    mod = relax.transform.ToNonDataflow()(mod)
    return mod, partition_module(mod, {})


def layers_of(parts):
    return [layer for part in parts.values() for layer in part.layers]


def rule_of(magnitudes, alpha=0.7):
    """Return SmoothQuant as if it had seen these largest magnitudes."""
    rule = SmoothQuant(alpha)
    rule.largest |= magnitudes
    return rule


def random_magnitudes(layers):
    """Return magnitudes of inputs over a range of 1000, with a channel that is always zero."""
    rng, found = np.random.default_rng(3), {}
    for layer in layers:
        if layer.kind in INPUT_AXES:
            channels = int(layer.x.ty.shape.values[INPUT_AXES[layer.kind]])
            found[layer.number] = np.exp2(rng.uniform(-5, 5, channels)).astype(np.float32)
            found[layer.number][1] = 0
    return found


def assert_near(mod, migrated, inputs, function="main") -> None:
    results = [make.run_llvm(each, inputs, function) for each in (mod, migrated)]
    for want, have in zip(*results, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def assert_factors_fit(result, layers, magnitudes) -> None:
    """Check factors against the weights that are quantized, norms and readers' factors in them."""
    weights = collections.defaultdict(list)
    for old, new in zip(layers, layers_of(partitions(result.mod)[1]), strict=True):
        factors = result.factors[old.number]
        groups = 1 if old.kind == "linear" else int(old.call.attrs.groups)
        columns = np.abs(new.weight).reshape(groups, new.weight.shape[0] // groups, -1).max(axis=1)
        columns = columns.reshape(len(factors), -1).max(axis=1) / factors
        weights[factors.tobytes()].append((columns, magnitudes[old.number], factors))
    for rows in weights.values():
        columns, largest, factors = (np.max(part, axis=0) for part in zip(*rows, strict=True))
        np.testing.assert_allclose(smoothing(largest, columns, 0.7), factors, rtol=1e-5)


@pytest.mark.parametrize("name", BODIES)
def test_the_module_computes_the_same(name):
    body, shape, folded, multiplied = BODIES[name]
    mod = make.module(body, shape)
    before, parts = partitions(mod)
    layers = layers_of(parts)
    magnitudes = random_magnitudes(layers)
    result = migrate(before, parts, {}, rule_of(magnitudes))
    relax.analysis.well_formed(result.mod)
    assert_factors_fit(result, layers, magnitudes)
    assert_near(mod, result.mod, make.inputs_of(mod))
    placed = collections.Counter(result.placed[layer.number] for layer in layers)
    assert (placed[FOLDED], placed[MULTIPLIED]) == (folded, multiplied)
    for layer in layers:
        factors = result.factors[layer.number]
        assert factors[1] == 1 and factors.max() > 2 * factors.min()
    products = [str(mod).count("R.multiply") for mod in (before, result.mod)]
    # Readers of one value share a multiplication.
    graph = Graph(before["main"])
    left = [layer for layer in layers if result.placed[layer.number] == MULTIPLIED]
    inputs = {hash(unshaped(graph, layer)) for layer in left}
    assert products[1] - products[0] == len(inputs) == sum(result.multiplies.values())


def test_weights_are_multiplied_and_readers_share_factors():
    mod, parts = partitions(make.module(shared, ROWS))
    layers = layers_of(parts)
    result = migrate(mod, parts, {}, rule_of(random_magnitudes(layers)))
    factors = [result.factors[layer.number] for layer in layers]
    assert all((one == factors[0]).all() for one in factors)
    for old, new in zip(layers, layers_of(partitions(result.mod)[1]), strict=True):
        np.testing.assert_allclose(new.weight, old.weight * factors[0], rtol=1e-6)


def test_functions_have_factors_of_their_own():
    builder = relax.BlockBuilder()
    for name, body in (("main", shared), ("other", gated)):
        make.add_function(builder, name, body, ROWS)
    before, parts = partitions(builder.get())
    result = migrate(before, parts, {}, rule_of(random_magnitudes(layers_of(parts))))
    for name in ("main", "other"):
        assert_near(before, result.mod, make.inputs_of(before, name), name)
    assert sorted(result.multiplies.values()) == [0, 1]
    assert len(result.factors) == len(layers_of(parts)) == 6


def test_factors_are_smoothquants():
    x, w = np.float32([4, 1, 0, 16, 2]), np.float32([1, 4, 3, 1, 0])
    found = smoothing(x, w, 0.75)
    ratio = np.array([4**0.75, 4**-0.25, 16**0.75])
    np.testing.assert_allclose(found[[0, 1, 3]], ratio / np.prod(ratio) ** (1 / 3), rtol=1e-6)
    assert found[[2, 4]].tolist() == [1, 1]
    assert (smoothing(x, w, 0)[:2] / smoothing(x, w, 0)[0]).tolist() == [1, 0.25]
    far = smoothing(np.float32([1e30, 1e-30]), np.float32([1, 1]), 1)
    assert far.tolist() == [FACTOR_RANGE, 1 / FACTOR_RANGE]
    assert smoothing(np.zeros(3, np.float32), np.ones(3, np.float32), 0.7).tolist() == [1] * 3


def test_factors_are_awqs():
    mean = np.float32([4, 0, 1, 0.25])
    assert powers(mean, 0.5).tolist() == [2, 1, 1, 0.5]
    np.testing.assert_allclose(powers(mean * 2, 1)[[0, 2]], [4, 1], rtol=1e-6)
    assert (powers(mean, 0) == 1).all() and (powers(np.zeros(3), 1) == 1).all()


@pytest.mark.parametrize("weight_format", ["int4", "uint2-g128", "ms4"])
def test_awq_takes_the_power_that_loses_least(weight_format):
    """Two readers of one value: judged by their outputs on the samples, computed here."""
    rng = np.random.default_rng(0)
    recipe = dataclasses.replace(load_recipe("awq-w4a8"), weight_format=weight_format, method="rtn")
    mod, parts = partitions(make.module(shared, ROWS))
    layers = layers_of(parts)
    x = rng.standard_normal((300, 10)) * np.exp2(rng.uniform(-4, 4, 10))
    rule, lost = ActivationAware(recipe), []
    for layer in layers:
        statistics = Statistics(10)
        statistics.add(x.astype(np.float32))
        rule.observe(layer, [statistics])
    for exponent in EXPONENTS:
        factors, total = powers(np.abs(x).mean(axis=0), exponent).astype(np.float32), 0.0
        for layer in layers:
            found, _ = quantize_weight("rtn", layer.weight * factors, weight_format, "x")
            total += np.square(x @ (values_of(found) / factors - layer.weight).T).sum()
        lost.append(total)
    best = int(np.argmin(lost))
    assert best > 0 and lost[best] < 0.8 * lost[0]
    result = migrate(mod, parts, {}, rule)
    for layer in layers:
        expected = powers(np.abs(x).mean(axis=0), EXPONENTS[best])
        np.testing.assert_allclose(result.factors[layer.number], expected, rtol=1e-5)


def test_awq_leaves_alone_what_it_cannot_better():
    """Inputs of one magnitude: every power is 1, and no layer is divided."""
    mod, parts = partitions(make.module(shared, ROWS))
    rule = ActivationAware(load_recipe("awq-w4a8"))
    for layer in layers_of(parts):
        statistics = Statistics(10)
        statistics.add(np.ones((4, 10), np.float32))
        rule.observe(layer, [statistics])
    result = migrate(mod, parts, {}, rule)
    tvm.ir.assert_structural_equal(result.mod, mod)


def test_layers_without_magnitudes_stay():
    mod, parts = partitions(make.module(shared, ROWS))
    result = migrate(mod, parts, {}, rule_of({}))
    tvm.ir.assert_structural_equal(result.mod, mod)
    assert result.factors == result.placed == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.ones(9, np.float32),
            r"layer 'linear0': largest magnitudes of \(9,\) channels; \(10,\)",
        ),
        (np.full(10, np.nan, np.float32), "must be finite and at least 0"),
        (np.full(10, -1, np.float32), "must be finite and at least 0"),
    ],
)
def test_magnitudes_are_checked(values, message):
    mod, parts = partitions(make.module(shared, ROWS))
    with pytest.raises(InputError, match=message):
        migrate(mod, parts, {}, rule_of({layers_of(parts)[0].number: values}))


CHANNELS = [5, 40, 97]


class Outliers(torch.nn.Module):
    """Queries, keys and values of a norm with channels far above the others, and as important."""

    def __init__(self, width=128):
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.parts = torch.nn.ModuleList(torch.nn.Linear(width, 48) for _ in range(3))
        self.out = torch.nn.Linear(48, 16)
        with torch.no_grad():
            self.norm.weight[CHANNELS] *= 50
            for part in self.parts:
                part.weight[:, CHANNELS] /= 50

    def forward(self, x):
        query, key, value = (part(self.norm(x)) for part in self.parts)
        return self.out(torch.softmax(query * key, -1) * value + query)


def loaded(frontend):
    torch.manual_seed(0)
    model, x = Outliers().eval(), torch.randn(1, 40, 128)
    if frontend == "torch":
        return load_model(model, (x,)), x.numpy(), model(x).detach().numpy()
    proto = torch.onnx.export(model, (x,), dynamo=True, verbose=False).model_proto
    return load_model(proto), x.numpy(), model(x).detach().numpy()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("frontend", "plain", "migrating", "gain_db"),
    [
        ("torch", "microscopiq-w4a4", "microscopiq-w4a4-migrated", 6),
        pytest.param("onnx", "microscopiq-w4a4", "microscopiq-w4a4-migrated", 6, marks=SLOW),
        pytest.param("torch", "int8", "smoothquant-w8a8", 6, marks=SLOW),
        pytest.param("torch", "int4", "awq-w4a8", 6, marks=SLOW),
    ],
)
def test_less_is_lost_with_migration(frontend, plain, migrating, gain_db):
    """The machine computes what LLVM does, the names stay, and the error falls."""
    mod, x, wanted = loaded(frontend)
    found, names = {}, {}
    for recipe in map(load_recipe, (plain, migrating)):
        samples = (x + shift for shift in (0.0, 0.01))  # an iterator: it can be read once
        quantized = quantize(mod, recipe, calibration=samples)
        state = make.compiled(quantized, recipe, "microscopiq-16x16")
        (y,) = Session(state.executable).run(x).outputs
        make.assert_equal_bits(make.run_llvm(quantized, [x]), [y])
        found[recipe.name] = sqnr_db(wanted, y)
        rows = read_records(quantized).layers.values()
        names[recipe.name] = [row.layer for row in rows if row.kind == "linear"]
    assert found[migrating] > found[plain] + gain_db
    assert names[migrating] == names[plain]
    assert [row.work.migration for row in rows if row.kind == "linear"] == [
        *[FOLDED] * 3, MULTIPLIED,
    ]  # fmt: skip
    host = read_records(quantized).host
    assert ("main", "multiply", MULTIPLY, 1) in host


def test_migration_needs_calibration():
    message = "recipe 'migrated': migration = 0.7 needs calibration data: give `calibration`"
    with pytest.raises(ConfigError, match=message):
        quantize(make.model("chain"), MIGRATED)


@pytest.mark.parametrize("name", ["chain", "conv bias norm relu6", "sum of two layers"])
def test_migrated_models_run_as_on_llvm(name):
    mod = make.model(name)
    inputs = make.inputs_of(mod)
    recipe = dataclasses.replace(MIGRATED, output_order="norm", activation="mx-int8")
    quantized = quantize(mod, recipe, calibration=[tuple(inputs)])
    found = Session(make.compiled(quantized, recipe).executable).run(*inputs).outputs
    make.assert_equal_bits(make.run_llvm(quantized, inputs), found)
    (want,) = make.run_llvm(mod, inputs)
    assert sqnr_db(want, found[0]) > 10
