"""compiler/quant/methods/olive.py: each pair loses as little as its step allows."""

import itertools

import numpy as np
import pytest

from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import quantize_weight, values_of
from microscopiq.target.formats import BESIDE_VICTIM
from microscopiq.target.weight import integers


def quantized(matrix: np.ndarray):
    return quantize_weight("olive", matrix.astype(np.float32), "olive4", "x")


def test_no_pair_could_lose_less_at_its_step():
    rng = np.random.default_rng(0)
    matrix = rng.standard_t(3, (40, 135)).astype(np.float32)
    weight, counts = quantized(matrix)
    found, scale = integers(weight)
    normal, outlier = range(-7, 8), sorted(set(BESIDE_VICTIM) - {0})
    pairs = np.array(
        [*itertools.product(normal, normal), *((o, 0) for o in outlier), *((0, o) for o in outlier)]
    )
    steps = np.repeat(scale.T, 128, axis=1)[:, :135].astype(np.float64)
    ratio = np.pad(matrix / steps, ((0, 0), (0, 1))).reshape(-1, 2)
    chosen = np.pad(found, ((0, 0), (0, 1))).reshape(-1, 2)
    least = np.square(ratio[:, None] - pairs).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(np.square(ratio - chosen).sum(axis=1), least, atol=1e-9)
    assert counts["outliers"] == (np.abs(found) > 7).sum() > 40
    assert counts["zeroed"] <= counts["outliers"]


def test_an_outlier_takes_its_neighbours_place_and_leaves_the_others_alone():
    matrix = np.tile(np.arange(-7.0, 8), (2, 8))[:, :120]
    matrix[0, 10], matrix[1, 33] = 96, -96
    weight, counts = quantized(matrix)
    expected = matrix.copy()
    expected[0, 11] = expected[1, 32] = 0
    np.testing.assert_array_equal(values_of(weight), expected)
    assert weight.slots[0, 10:12].tolist() == [7, 8] and weight.slots[1, 32:34].tolist() == [8, 15]
    assert counts == {"outliers": 2, "zeroed": 2, "saturated": 0}


@pytest.mark.parametrize("seed", range(3))
def test_never_worse_than_int4(seed):
    """The step that nothing saturates at is among the candidates."""
    rng = np.random.default_rng(seed)
    for matrix in (rng.uniform(-1, 1, (50, 200)), rng.standard_normal((50, 7)), np.eye(30)):
        errors = [
            np.square(values_of(found) - matrix).sum()
            for found in (
                quantized(matrix)[0],
                quantize_weight("rtn", matrix.astype(np.float32), "int4", "x")[0],
            )
        ]
        assert errors[0] <= errors[1] * (1 + 1e-3)
