"""compiler/calibration: statistics of what each matrix multiplies, against torch's hooks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.calibration import products
from microscopiq.compiler.calibration.run import Runner
from tests.compiler import relax_modules as make
from tests.compiler.calibration.calibrated import (
    assert_held_out,
    assert_near,
    exported,
    gathered,
    moment,
    same,
    seen_by_torch,
)

ROOT = Path(__file__).parents[3]


class Mixed(nn.Module):
    """Convolutions of every kind, a batch norm to fold, three linear layers, two on equal rows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.plain = nn.Conv2d(3, 8, 3, stride=2, padding=(1, 2))
        self.grouped = nn.Conv2d(8, 12, (3, 2), dilation=(2, 1), groups=4, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12, padding=1)
        self.first = nn.Linear(12, 20)
        self.left = nn.Linear(20, 6)
        self.right = nn.Linear(20, 6, bias=False)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        y = torch.relu(self.norm(self.grouped(self.plain(x))))
        y = self.depthwise(y).flatten(2).transpose(1, 2).contiguous()
        y = torch.tanh(self.first(y))
        return self.left(y) * self.right(y)


def images(count: int, batch: int = 2, seed: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((batch, 3, 11, 9), np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def mixed():
    return Mixed()


@pytest.fixture(scope="module")
def program(mixed):
    return exported(mixed, images(1)[0])


@pytest.fixture(scope="module")
def found(program):
    return gathered(program, images(10))


def test_statistics_are_those_of_the_rows_that_torch_sees(mixed, found):
    seen = seen_by_torch(mixed, [(x,) for x in images(10)])
    assert found.keys() == seen.keys()
    assert len(found) == 6
    for name, (_, statistics) in found.items():
        used = [rows for number, rows in enumerate(seen[name]) if number != 7]
        groups = len(seen[name][0])
        assert len(statistics) == groups, name
        for group, one in enumerate(statistics):
            rows = np.concatenate([call[group] for call in used])
            assert_near(one.hessian, moment(rows))
            assert_held_out(one, seen[name][7][group])
            np.testing.assert_allclose(one.largest, np.abs(rows).max(axis=0), rtol=1e-4, atol=1e-5)
            assert one.rows == len(rows)


def test_columns_are_those_of_the_weight(mixed, found):
    """The power of each output follows from weight and statistics, in whatever order both are."""
    seen = seen_by_torch(mixed, [(x,) for x in images(10)])
    for name in ("plain", "depthwise", "first"):
        layer, statistics = found[name]
        weight = mixed.get_submodule(name).weight.detach().numpy()
        matrices = weight.reshape(len(statistics), -1, statistics[0].inputs)
        for group, one in enumerate(statistics):
            rows = np.concatenate([c[group] for n, c in enumerate(seen[name]) if n != 7])
            power = np.square(rows @ matrices[group].T).sum(axis=0)
            wanted = np.einsum("oi,ij,oj->o", matrices[group], one.hessian, matrices[group])
            np.testing.assert_allclose(wanted, power, rtol=1e-3)


def test_layers_that_multiply_the_same_rows_share_statistics(found):
    assert found["left"][1][0] is found["right"][1][0]
    assert found["left"][1][0] is not found["first"][1][0]


def test_equal_bytes_twice(program, found):
    assert same(found, gathered(program, images(10)))
    assert not same(found, gathered(program, images(10, seed=5)))


@pytest.mark.parametrize("budget", [1, 300_000])
def test_groups_of_layers_have_the_statistics_of_all_at_once(program, found, budget):
    """Samples that can be read once only serve several groups."""
    steps = []
    again = gathered(
        program, iter(images(10)), steps=lambda *s: steps.append(s), hessian_bytes=budget
    )
    assert same(found, again)
    assert list(again) == list(found)
    groups = {1: 5, 300_000: 2}[budget]
    assert [step[:2] for step in steps] == [(i + 1, 10 * groups) for i in range(10 * groups)]
    assert steps[-1][2].startswith(f"group {groups} of {groups}")


@pytest.mark.parametrize(
    ("count", "every", "held_out"),
    [(2, 8, {1}), (8, 8, {7}), (17, 8, {7, 15}), (5, 2, {1, 3}), (3, 0, set())],
)
def test_every_eighth_call_is_held_out(count, every, held_out):
    layer = nn.Linear(5, 3)
    calls = [np.full((4, 5), number + 1, np.float32) for number in range(count)]
    ((_, (one,)),) = gathered(exported(layer, calls[0]), calls, held_out_every=every).values()
    assert one.held_out[:, 0].tolist() == [i + 1 for i in sorted(held_out) for _ in range(4)]
    assert one.hessian[0, 0] == sum(4 * (i + 1) ** 2 for i in set(range(count)) - held_out)
    assert (one.rows, one.held_out_rows) == (4 * (count - len(held_out)), 4 * len(held_out))


def test_every_eighth_row_of_a_single_call_is_held_out(mixed, program):
    (x,) = images(1)
    seen = seen_by_torch(mixed, [(x,)])
    for name, (_, statistics) in gathered(program, x).items():
        for one, rows in zip(statistics, seen[name][0], strict=True):
            apart = np.arange(len(rows)) % 8 == 7
            assert_held_out(one, rows[apart])
            assert_near(one.hessian, moment(rows[~apart]))
            assert one.rows + one.held_out_rows == len(rows)


class Ordered(nn.Module):
    """Two linear layers with a GELU between them, whose channels `norm` orders."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.wide = nn.Linear(24, 300)
        self.narrow = nn.Linear(300, 10)
        with torch.no_grad():
            self.wide.weight *= torch.rand(300, 1) + 0.1

    def forward(self, x):
        return self.narrow(torch.nn.functional.gelu(self.wide(x)))


def test_statistics_follow_channels_that_were_ordered():
    module, calls = Ordered(), [np.float32(np.random.default_rng(i).normal(size=(9, 24)))
                                for i in range(3)]  # fmt: skip
    samples = exported(module, calls[0])
    orders = {}
    found = gathered(samples, calls, "microscopiq-w4a8-ordered", orderings=orders)
    layer, (one,) = found["narrow"]
    columns = orders["narrow"].columns
    assert columns is not None and (np.diff(columns) < 0).any()
    rows = seen_by_torch(module, [(x,) for x in calls])["narrow"]
    used, held_out = np.concatenate([rows[0][0], rows[1][0]]), rows[2][0]
    assert_near(one.hessian, moment(used[:, columns]))
    assert_held_out(one, held_out[:, columns])
    np.testing.assert_allclose(one.largest, np.abs(used[:, columns]).max(axis=0), rtol=1e-4)
    # The ordered weight times the ordered rows is the layer's output.
    weight = module.narrow.weight.detach().numpy()
    np.testing.assert_array_equal(layer.weight, weight[:, columns])
    _, (source,) = gathered(samples, calls, "microscopiq-w4a8")["narrow"]
    assert np.vdot(layer.weight @ one.hessian, layer.weight) == pytest.approx(
        np.vdot(weight @ source.hessian, weight), rel=1e-4
    )


def test_gathered_rows_of_a_convolution_in_small_parts(program, found, monkeypatch):
    monkeypatch.setattr(products, "PATCH_BYTES", 1)
    again = gathered(program, images(10))
    for name, (_, statistics) in found.items():
        for one, other in zip(statistics, again[name][1], strict=True):
            assert_near(other.hessian, one.hessian)
            np.testing.assert_array_equal(other.held_out.shape, one.held_out.shape)
            assert other.rows == one.rows


def test_a_call_ends_with_the_last_rows_that_are_wanted(program, monkeypatch):
    count = 0

    def counted(runner, number, *tensors):
        nonlocal count
        count += 1
        observe(runner, number, *tensors)

    observe = Runner.observe
    monkeypatch.setattr(Runner, "observe", counted)
    gathered(program, images(3))
    assert count == 3 * 5  # "left" shows the rows of "right", and nothing reads its own result
    count = 0
    gathered(program, images(3), hessian_bytes=1)
    assert count == 3 * (1 + 2 + 3 + 4 + 5)


def test_a_function_that_is_called_twice():
    builder = relax.BlockBuilder()
    make.add_function(builder, "sub", lambda emit, x: make.linear(emit, x, 5), (4, 5), private=True)
    sub = builder.get().get_global_var("sub")

    def body(emit, x):
        return emit(op.tanh(make.linear(emit, emit(sub(emit(sub(x)))), 3, seed=1)))

    make.add_function(builder, "main", body, (4, 5))
    x = np.random.default_rng(8).random((3, 4, 5), np.float32)
    found = gathered(builder.get(), x, hessian_bytes=1)
    rows = {layer.weight.shape: known[0].rows for layer, known in found.values()}
    assert rows == {(3, 5): 2 * 4, (5, 5): 2 * 2 * 4}
