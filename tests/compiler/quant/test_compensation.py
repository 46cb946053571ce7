"""compiler/quant/compensation.py against its formulas in float64, a channel at a time."""

import numpy as np
import pytest

from microscopiq.compiler.quant.compensation import (
    Order,
    TooLittleDamping,
    ordered,
    refine,
    sweep,
)
from tests.compiler.quant.rounding_grid import RoundingGrid, nearest, step_of

INPUTS, OUT = 150, 5
BLOCKS = [(0, 128), (128, 150)]
PARTS = [(first, min(first + 16, end)) for begin, end in BLOCKS for first in range(begin, end, 16)]
"""Row-blocks of 128 channels, and parts of 16 of them whose scales are chosen together."""


def case(inputs: int = INPUTS) -> tuple[np.ndarray, np.ndarray]:
    """Return weights ``(in, out)`` and the Hessian of correlated rows."""
    rng = np.random.default_rng(inputs)
    rows = rng.standard_normal((400, 30)) @ rng.standard_normal((30, inputs))
    rows += 0.5 * rng.standard_normal(rows.shape)
    weights = rng.standard_normal((inputs, OUT)).astype(np.float32)
    return weights, (rows.T @ rows).astype(np.float32)


def damped(hessian: np.ndarray, damping: float) -> np.ndarray:
    """Return H + damping * mean(diag H) * I in float64."""
    exact = hessian.astype(np.float64)
    return exact + damping * np.diagonal(exact).mean() * np.eye(len(exact))


def order_of(hessian: np.ndarray) -> list[int]:
    """Return channels by falling power."""
    return sorted(range(len(hessian)), key=lambda k: -hessian[k, k])


def unit_upper(matrix: np.ndarray) -> np.ndarray:
    """Return U of ``matrix = U D U^T``, by elimination from the last channel."""
    rest, upper = matrix.copy(), np.eye(len(matrix))
    for k in reversed(range(len(matrix))):
        upper[:k, k] = rest[:k, k] / rest[k, k]
        rest[:k, :k] -= np.outer(rest[:k, k], rest[k, :k]) / rest[k, k]
    return upper


def slow_sweep(weights: np.ndarray, hessian: np.ndarray, damping: float) -> np.ndarray:
    """Round channel k to w_k + sum_j<k e_j U_jk; steps for 16 channels at once."""
    order = order_of(hessian)
    upper = unit_upper(damped(hessian, damping)[np.ix_(order, order)])
    weights = weights[order].astype(np.float64)
    values, steps = np.zeros_like(weights), {}
    for k in range(len(order)):
        error = (weights - values)[:k]
        for first, end in PARTS:
            if first == k:
                wanted = weights[k:end] + upper[:k, k:end].T @ error
                steps |= {k + i: step_of(row) for i, row in enumerate(wanted)}
        values[k] = nearest(weights[k] + upper[:k, k] @ error, steps[k])
    found = np.empty_like(values)
    found[order] = values
    return found


def test_sweep_is_the_formula():
    weights, hessian = case()
    grid, before = RoundingGrid(weights), weights.copy()
    values = sweep(weights, ordered(hessian, 0.05), grid)
    np.testing.assert_array_equal(values, slow_sweep(weights, hessian, 0.05))
    np.testing.assert_array_equal(weights, before)
    order = order_of(hessian)
    assert grid.prepared == [order[first:end] for first, end in PARTS] and not grid.kept


def test_sweep_lowers_the_error_that_it_is_about():
    weights, hessian = case()

    def lost(values: np.ndarray) -> float:
        error = (weights - values).astype(np.float64)
        return np.trace(error.T @ damped(hessian, 0.05) @ error)

    plain = sweep(weights, Order(np.arange(INPUTS), None), RoundingGrid(weights))
    found = sweep(weights, ordered(hessian, 0.05), RoundingGrid(weights))
    assert lost(found) < 0.4 * lost(plain)


def test_without_a_factor_blocks_are_rounded_as_they_are():
    weights, _ = case()
    grid = RoundingGrid(weights)
    values = sweep(weights, Order(np.arange(INPUTS), None), grid)
    assert grid.prepared == [list(range(128)), list(range(128, 150))]
    expected = [nearest(row, step_of(row)) for row in weights]
    np.testing.assert_array_equal(values, expected)


def test_order_is_by_falling_power_and_ties_keep_theirs():
    """The factor is that of the damped Hessian over its mean diagonal, 7 / 4."""
    hessian = np.diag(np.float32([1, 2, 1, 3]))
    hessian[0, 3] = hessian[3, 0] = 0.5
    found = ordered(hessian, 0.25)
    assert found.channels.tolist() == [3, 1, 0, 2]
    expected = hessian[np.ix_(found.channels, found.channels)] * 4 / 7 + 0.25 * np.eye(4)
    np.testing.assert_allclose(found.factor @ found.factor.T, expected, rtol=1e-6, atol=1e-7)
    assert not np.tril(found.factor, -1).any()
    # Channel 0 comes third; its U is what it shares with channel 3, over its damped power.
    upper = np.eye(4)
    upper[0, 2] = (0.5 * 4 / 7) / (1 * 4 / 7 + 0.25)
    np.testing.assert_allclose(found.unit(), upper, rtol=1e-6, atol=1e-7)
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.testing.assert_allclose(found.factor @ found.solved(rows), rows, rtol=1e-5, atol=1e-5)


def test_nothing_to_compensate():
    """Infinite damping, or inputs that are all 0; the order is that of the powers all the same."""
    for hessian, damping in ((np.diag(np.float32([1, 2])), np.inf), (np.zeros((2, 2)), 0.1)):
        found = ordered(hessian, damping)
        assert found.factor is None and found.unit() is None
        assert found.channels.tolist() == ([1, 0] if hessian.any() else [0, 1])
    with pytest.raises(TooLittleDamping):
        ordered(np.ones((3, 3), np.float32), -0.5)


def slow_refine(weights, values, hessian, damping, steps) -> tuple[np.ndarray, float]:
    """Round channel k to v_k + (A e)_k / A_kk, A damped; `steps` None: choose them anew."""
    matrix, order = damped(hessian, damping), order_of(hessian)
    weights, values = weights.astype(np.float64), values.astype(np.float64)

    def lost(values: np.ndarray) -> float:
        return float(((weights - values) * (matrix @ (weights - values))).sum())

    start, level, chosen = lost(values), 0.0, dict(steps or {})
    for place, k in enumerate(order):
        pull = matrix @ (weights - values)
        target = values + pull / np.diagonal(matrix)[:, None]
        for first, end in BLOCKS:
            if first == place:
                block = order[first:end]
                level += float((pull * (weights - values))[block].sum())
        for first, end in PARTS:
            if first == place and steps is None:
                chosen |= {c: step_of(target[c]) for c in order[first:end]}
        values[k] = nearest(target[k], chosen[k])
    return values, (start - lost(values)) / level


@pytest.mark.parametrize("keep", [True, False])
def test_refine_is_coordinate_descent(keep):
    weights, hessian = case()
    grid = RoundingGrid(weights)
    first = sweep(weights, Order(np.arange(INPUTS), None), grid)
    steps, before = dict(grid.steps), (weights.copy(), first.copy(), hessian.copy())
    grid.prepared.clear()
    values, gain = refine(weights, first, hessian, 0.05, grid, keep)
    expected, expected_gain = slow_refine(weights, first, hessian, 0.05, steps if keep else None)
    np.testing.assert_array_equal(values, expected)
    assert gain == pytest.approx(expected_gain, rel=1e-3) and gain > 0.1
    for array, same in zip((weights, first, hessian), before, strict=True):
        np.testing.assert_array_equal(array, same)
    order = order_of(hessian)
    calls = [order[begin:end] for begin, end in PARTS]
    assert (grid.kept, grid.prepared) == ((calls, []) if keep else ([], calls))


def test_gain_is_the_part_of_the_error_that_went():
    """One block: E A E^T before and after, with A = H + 0.5 * mean(diag H) * I."""
    weights, hessian = case(20)
    grid = RoundingGrid(weights)
    first = sweep(weights, Order(np.arange(20), None), grid)
    values, gain = refine(weights, first, hessian, 0.5, grid, True)
    lost = [
        np.trace((weights - v).T @ damped(hessian, 0.5) @ (weights - v)) for v in (first, values)
    ]
    assert gain == pytest.approx(1 - lost[1] / lost[0], rel=1e-4)


def test_gain_does_not_depend_on_the_unit_of_the_inputs():
    weights, hessian = case(20)
    gains = []
    for unit in (1, 2.0**-20):
        grid = RoundingGrid(weights)
        first = sweep(weights, Order(np.arange(20), None), grid)
        gains.append(refine(weights, first, hessian * np.float32(unit), 0.5, grid, True)[1])
    assert gains[0] == gains[1] > 0


def test_without_any_error_there_is_nothing_to_gain():
    weights = np.float32([[4, -2], [0, 1]])
    grid = RoundingGrid(weights)
    grid.prepare([0, 1], weights)
    for hessian in (np.zeros((2, 2), np.float32), np.eye(2, dtype=np.float32)):
        values, gain = refine(weights, weights, hessian, 0.1, grid, True)
        assert values.tolist() == weights.tolist() and gain == 0.0
