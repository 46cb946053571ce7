"""Recipes of each method on inputs that are far from 0 for their spread."""

import numpy as np
import pytest

from microscopiq.compiler.api import Calibration
from microscopiq.compiler.driver import quantize
from microscopiq.compiler.passes.records import read_records
from tests.compiler.relax_modules import bias_4d, conv, linear, module, relu

SHAPES = [(12, 18), (1, 4, 6, 6)]
SPREAD = 0.05
RECIPES = ["microscopiq-w4a8", "gptq-w4a8", "awq-w4a8", "smoothquant-w8a8"]
"""With and without bias correction and migration."""


def body(emit, rows, image):
    y = relu(emit, bias_4d(emit, conv(emit, image, 6, padding=1)))
    return linear(emit, rows, 7), bias_4d(emit, conv(emit, y, 3, (1, 1), seed=1))


def samples(mean: float) -> list[tuple]:
    """Return nine calls, one channel of each input dead, one constant, two alike."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(9):
        arrays = [mean + SPREAD * rng.standard_normal(shape) for shape in SHAPES]
        for array in arrays:
            array[:, 0], array[:, 1], array[:, 2] = 0, mean, array[:, 3]
        found.append(tuple(array.astype(np.float32) for array in arrays))
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_calibrate(recipe):
    found = quantize(module(body, *SHAPES), recipe, Calibration(samples(10_000 * SPREAD)))
    records = read_records(found).layers.values()
    errors = [row.held_out_error for row in records if row.weights]
    assert len(errors) == 3 and all(error is not None for error in errors)
