"""compiler/quant/damping.py: the search against all dampings, tried by their formula in float64."""

import math

import numpy as np
import pytest

from microscopiq.compiler.quant import damping
from microscopiq.compiler.quant.compensation import Order, TooLittleDamping, ordered
from microscopiq.compiler.quant.damping import choose_damping
from microscopiq.compiler.quant.statistics import Statistics
from tests.compiler.quant.test_compensation import damped, order_of, unit_upper

ALL = [0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 1.0, 3.0]
INPUTS = 24


def statistics(rows: int, directions: int, noise: float) -> Statistics:
    """Return those of rows that lie in a few directions, but for noise; 40 are held out."""
    rng = np.random.default_rng(directions)
    mixing = rng.standard_normal((directions, INPUTS))
    x = rng.standard_normal((rows + 40, directions)) @ mixing
    x = (x + noise * rng.standard_normal(x.shape[:1] + (INPUTS,))).astype(np.float32)
    found = Statistics(INPUTS)
    found.add(x[:rows])
    found.add(x[rows:], held_out=True)
    return found


def channel_noise() -> np.ndarray:
    return np.random.default_rng(7).uniform(0.1, 1, INPUTS)


def expected_error(known: Statistics, part: float) -> float:
    """Return sum_k noise_k |(X U^-T)_k|^2 of the held-out rows, U = I for infinite damping."""
    order = order_of(known.hessian)
    x = known.held_out.astype(np.float64)[:, order]
    if part < math.inf:
        upper = unit_upper(damped(known.hessian, part)[np.ix_(order, order)])
        x = x @ np.linalg.inv(upper).T
    return float((channel_noise()[order] * np.square(x).sum(axis=0)).sum())


CASES = {
    # Many rows of few directions: what 0.003 believes in is so.
    "least": (statistics(2000, 3, 0.05), 0.003, [0.2, 0.1, 0.03, 0.01, 0.003, math.inf]),
    "little": (statistics(12, 3, 0.3), 0.03, [0.2, 0.1, 0.03, 0.01, math.inf]),
    "the first": (statistics(16, 8, 0.8), 0.1, [0.2, 0.1, 0.03, math.inf]),
    "more": (statistics(30, 8, 2.0), 0.4, [0.2, 0.1, 0.4, 1.0, math.inf]),
    # Fewer rows than channels, of no direction at all.
    "none": (statistics(12, 24, 5.0), math.inf, [0.2, 0.1, 0.4, 1.0, 3.0, math.inf]),
}


@pytest.mark.parametrize("label", CASES)
def test_the_least_expected_error_is_found(label, monkeypatch):
    """From 0.1 and 0.2 on, in the direction in which the error falls, each damping at most once."""
    known, best, path = CASES[label]
    tried = []

    def counted(hessian, part):
        tried.append(part)
        return ordered(hessian, part)

    monkeypatch.setattr(damping, "ordered", counted)
    found = choose_damping(known, channel_noise())
    errors = {part: expected_error(known, part) for part in (*ALL, math.inf)}
    assert found.damping == best == min(errors, key=errors.__getitem__)
    assert tried == path
    assert found.expected == pytest.approx(errors[best] / errors[math.inf], rel=1e-4)
    assert found.order.channels.tolist() == order_of(known.hessian)
    if best == math.inf:
        assert found.order.factor is None and found.expected == 1
    else:
        np.testing.assert_array_equal(found.order.factor, ordered(known.hessian, best).factor)


def test_dampings_without_a_factor_are_passed_by(monkeypatch):
    """The search goes down, 0.01 has none: what is found is 0.03, and 0.003 isn't looked at."""
    known, _, _ = CASES["least"]
    tried = []

    def fails_below(hessian, part):
        tried.append(part)
        if part < 0.03:
            raise TooLittleDamping(part)
        return ordered(hessian, part)

    monkeypatch.setattr(damping, "ordered", fails_below)
    assert choose_damping(known, channel_noise()).damping == 0.03
    assert tried == [0.2, 0.1, 0.03, 0.01, math.inf]


def test_where_both_first_ones_have_no_factor(monkeypatch):
    """Less damping has none either: the search goes up to its end, and says that nothing had."""
    tried = []

    def only_infinite(hessian, part):
        tried.append(part)
        if part < math.inf:
            raise TooLittleDamping(part)
        return ordered(hessian, part)

    monkeypatch.setattr(damping, "ordered", only_infinite)
    found = choose_damping(CASES["little"][0], channel_noise())
    assert (found.damping, found.order.factor, found.expected) == (math.inf, None, 1.0)
    assert tried == [0.2, 0.1, 0.4, 1.0, 3.0, math.inf] and found.none


def test_the_search_goes_up_to_the_first_damping_with_a_factor(monkeypatch):
    """0.1 and 0.2 have none, 0.4 has: from there on the error decides."""
    known, _, _ = CASES["least"]

    def fails_below(hessian, part):
        if part < 0.4:
            raise TooLittleDamping(part)
        return ordered(hessian, part)

    monkeypatch.setattr(damping, "ordered", fails_below)
    found = choose_damping(known, channel_noise())
    assert found.damping == 0.4 and not found.none
    monkeypatch.undo()
    alone = Statistics(INPUTS)
    alone.moments = known.hessian
    monkeypatch.setattr(damping, "ordered", fails_below)
    assert choose_damping(alone, channel_noise()).damping == 0.4


def test_without_held_out_rows_there_is_a_fixed_damping():
    known = Statistics(INPUTS)
    known.add(np.random.default_rng(0).standard_normal((50, INPUTS)).astype(np.float32))
    found = choose_damping(known, channel_noise())
    assert (found.damping, found.expected) == (0.1, 0.0)
    np.testing.assert_array_equal(found.order.factor, ordered(known.hessian, 0.1).factor)


def test_rows_of_zeros_expect_no_more_than_rounding_to_nearest():
    known = Statistics(INPUTS)
    known.add(np.random.default_rng(0).standard_normal((50, INPUTS)).astype(np.float32))
    known.add(np.zeros((3, INPUTS), np.float32), held_out=True)
    found = choose_damping(known, channel_noise())
    assert found.expected == 1.0 and isinstance(found.order, Order)
