"""compiler/calibration, layer by layer: rows of the quantized model, and what they differ by."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from microscopiq.compiler.calibration.products import Linear
from microscopiq.compiler.driver import quantize
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.partition.layer import Replaced, matrices
from microscopiq.compiler.quant.statistics import Statistics
from microscopiq.compiler.quant.upstream import toward_source
from microscopiq.compiler.study.compare import on_blas
from microscopiq.target.errors import ConfigError
from tests.compiler.calibration.calibrated import (
    assert_near,
    exported,
    gathered,
    moment,
    seen_by_torch,
)

import microscopiq as mq  # isort: skip


class Net(nn.Module):
    """A convolution with a batch norm, a convolution in groups, two linear layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.normed = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.wide = nn.Linear(12, 160)
        self.last = nn.Linear(160, 6)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        y = torch.relu(self.norm(self.normed(x)))
        y = self.grouped(y).flatten(2).transpose(1, 2).contiguous()
        return self.last(torch.tanh(self.wide(y)))


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal((2, 3, 10, 9), np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def net():
    return Net().eval()


@pytest.fixture(scope="module")
def program(net):
    return exported(net, images(1)[0])


def with_values(net: Net, values: dict[str, Replaced]) -> Net:
    """Return the network with quantized values; those of `normed` have the norm's factors."""
    quantized = copy.deepcopy(net)
    norm = quantized.norm
    for name, found in values.items():
        layer = quantized.get_submodule(name)
        factor = 1.0
        if name == "normed":
            factor = (norm.weight.data / torch.sqrt(norm.running_var + norm.eps)).reshape(-1, 1)
        weight = torch.from_numpy(found.values.copy()).reshape(len(layer.weight), -1)
        layer.weight.data = (weight / factor).reshape(layer.weight.shape)
        layer.bias.data += (torch.from_numpy(found.shift)[:, None] / factor).reshape(-1)
    return quantized


def test_rows_and_drift_are_those_of_the_model_with_the_layers_before_quantized(net, program):
    values: dict[str, Replaced] = {}
    samples = images(6)
    found = gathered(program, samples, "microscopiq-w2a8", sequential=True, values=values)
    assert list(found) == ["normed", "grouped", "wide", "last"]
    source = seen_by_torch(net, [(x,) for x in samples])
    for number, (name, (_, statistics)) in enumerate(found.items()):
        before = dict(list(values.items())[:number])
        seen = seen_by_torch(with_values(net, before), [(x,) for x in samples])
        for group, one in enumerate(statistics):
            x, s = (np.concatenate([c[group] for c in rows[name][:5]]) for rows in (seen, source))
            assert_near(one.hessian, moment(x))
            if not number:
                assert one.drift is None and one.source is None
                continue
            assert_near(one.drift, x.T.astype(np.float64) @ (s - x))
            apart = source[name][5][group]
            np.testing.assert_allclose(one.source, apart, rtol=1e-4, atol=1e-5)
            assert len(one.source) == len(one.held_out)


def test_values_go_back_where_they_came_from_if_channels_are_ordered(net, program):
    values: dict[str, Replaced] = {}
    samples = images(4)
    recipe = "microscopiq-w4a8-ordered"
    orders = {}
    found = gathered(program, samples, recipe, sequential=True, values=values, orderings=orders)
    _, (one,) = found["last"]
    order, columns = orders["wide"].rows, orders["last"].columns
    assert columns is not None and order is not None
    back = np.argsort(order)
    values["wide"] = Replaced(values["wide"].values[:, back], values["wide"].shift[back])
    del values["last"]
    seen = seen_by_torch(with_values(net, values), [(x,) for x in samples])
    rows = np.concatenate([call[0] for call in seen["last"][:3]])
    assert_near(one.hessian, moment(rows[:, columns]))


def test_cache_holds_what_depends_on_the_layers_before(program, tmp_path):
    options = {"sequential": True, "cache_dir": tmp_path}
    samples = images(4)
    first = gathered(program, samples, "microscopiq-w2a8", **options)
    files = sorted(tmp_path.iterdir())
    again = gathered(program, samples, "microscopiq-w2a8", **options)
    assert sorted(tmp_path.iterdir()) == files and len(files) == 4
    for name in first:
        for a, b in zip(first[name][1], again[name][1], strict=True):
            np.testing.assert_array_equal(a.hessian, b.hessian)
            if a.drift is not None:
                np.testing.assert_array_equal(a.drift, b.drift)
                np.testing.assert_array_equal(a.source, b.source)
    gathered(program, samples, "microscopiq-w4a8", **options)
    assert len(list(tmp_path.iterdir())) == 7  # the first layer's inputs are the same


class Skips(nn.Module):
    """Layers whose values others read much later, and an input that all of them read."""

    def __init__(self, depth: int):
        super().__init__()
        torch.manual_seed(9)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))

    def forward(self, x, scale):
        seen = [x]
        for layer in self.layers:
            seen.append(torch.tanh(layer(seen[-1])) * scale + seen[len(seen) // 2])
        return seen[-1] + seen[1]


def test_nothing_runs_again_for_each_layer(monkeypatch):
    depth, rng = 10, np.random.default_rng(2)
    samples = [
        tuple(rng.standard_normal(shape, np.float32) for shape in ((12, 16), (1, 16)))
        for _ in range(5)
    ]
    net = Skips(depth)
    computed = []
    compute = Linear.__call__
    monkeypatch.setattr(
        Linear, "__call__", lambda *arguments: computed.append(1) or compute(*arguments)
    )
    values: dict[str, Replaced] = {}
    found = gathered(
        exported(net, *samples[0]), samples, "microscopiq-w4a8", sequential=True, values=values
    )
    # The source's products and the quantized layers'.
    assert len(computed) <= 2 * depth * len(samples)
    for name, replaced in values.items():
        layer = net.get_submodule(name)
        layer.weight.data = torch.from_numpy(replaced.values[0])
        layer.bias.data += torch.from_numpy(replaced.shift)
    seen = seen_by_torch(net, samples)
    assert len(found) == depth
    for name, (_, (one,)) in found.items():
        assert_near(one.hessian, moment(np.concatenate([c[0] for c in seen[name][:4]])))


def test_outputs_come_nearer_to_the_source(net, program):
    samples, unseen = images(40)[:32], images(40)[32:]
    mod = load_model(program)
    lost = {}
    for sequential in (False, True):
        calibration = mq.Calibration(samples, sequential=sequential)
        quantized = quantize(mod, "microscopiq-w2a16", calibration)
        with on_blas(quantized) as run:
            outputs = [run((x,))[0] for x in unseen]
        with torch.no_grad():
            wanted = [net(torch.from_numpy(x)).numpy() for x in unseen]
        lost[sequential] = sum(np.square(a - b).sum() for a, b in zip(outputs, wanted, strict=True))
    assert lost[True] < 0.9 * lost[False]


def test_a_corrected_bias_gives_the_source_its_means_back(program):
    samples = images(12)
    recipe = mq.Recipe("mine", "", "gptq", "ms2", "mx-int8", bias_correction=True)
    with_bias = dataclasses.replace(recipe, activation="fp32")
    without = dataclasses.replace(with_bias, bias_correction=False)
    options = {"held_out_every": 0, "sequential": True}
    values: dict[str, Replaced] = {}
    for name, (layer, statistics) in gathered(
        program, samples, recipe, values=values, **options
    ).items():
        parts = zip(matrices(layer), values[name].values, statistics, strict=True)
        lost = [(a @ one.source_total - b @ one.total) / one.rows for a, b, one in parts]
        np.testing.assert_allclose(values[name].shift, np.concatenate(lost), rtol=1e-4, atol=1e-5)
    mod = load_model(program)
    means = {}
    for chosen in (with_bias, without):
        quantized = quantize(mod, chosen, mq.Calibration(samples, **options))
        with on_blas(quantized) as run:
            means[chosen.bias_correction] = np.mean([run((x,))[0] for x in samples], axis=(0, 1, 2))
    with on_blas(mod) as run:
        wanted = np.mean([run((x,))[0] for x in samples], axis=(0, 1, 2))
    assert np.abs(means[True] - wanted).max() < 0.01 * np.abs(means[False] - wanted).max()


def test_centered_statistics_are_those_of_centered_rows():
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((400, 12)) + 3 * rng.standard_normal(12)).astype(np.float32)
    s = (x + 0.1 * rng.standard_normal(x.shape) + 0.2).astype(np.float32)
    one = Statistics(12)
    one.add(x[:350], source=s[:350])
    one.add(x[350:], held_out=True, source=s[350:])
    found, mean, source = one.centered(), x[:350].mean(axis=0), s[:350].mean(axis=0)
    at, to = x[:350] - mean, s[:350] - source
    # What is left has the rounding errors of what was taken away.
    bound = 1e-6 * np.abs(one.hessian).max()
    np.testing.assert_allclose(found.hessian, moment(at), atol=bound)
    np.testing.assert_allclose(found.drift, at.T.astype(np.float64) @ (to - at), atol=bound)
    np.testing.assert_allclose(found.held_out, x[350:] - mean, atol=1e-5)
    np.testing.assert_allclose(found.source, s[350:] - source, atol=1e-5)
    assert one.hessian[0, 0] != found.hessian[0, 0]


def test_target_is_the_least_squares_solution():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 24)).astype(np.float32)
    s = (x + 0.3 * np.roll(x, 1, axis=1)).astype(np.float32)
    weights = rng.standard_normal((24, 10)).astype(np.float32)
    one = Statistics(24)
    one.add(x[:3900], source=s[:3900])
    one.add(x[3900:], held_out=True, source=s[3900:])
    exact = np.linalg.lstsq(x[:3900], s[:3900] @ weights, rcond=None)[0]
    found = toward_source(weights, one)
    # Damped by at least 1 %.
    assert np.square(found - exact).sum() < 0.02**2 * np.square(weights - exact).sum()
    assert toward_source(weights, Statistics(24)) is weights


def test_an_upstream_that_is_no_truth_value_is_refused(program):
    recipe = mq.Recipe("mine", "", "gptq", "int4", "mx-int8", options={"upstream": 1})
    with pytest.raises(ConfigError, match=r"upstream = 1: true or false is needed"):
        quantize(program, recipe, images(2))
