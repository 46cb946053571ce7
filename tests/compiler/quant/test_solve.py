"""compiler/quant/solve.py: which steps a matrix goes through, and which result is taken."""

import numpy as np
import pytest

from microscopiq.compiler.quant import solve
from microscopiq.compiler.quant.compensation import Order, ordered, refine, sweep
from microscopiq.compiler.quant.damping import Choice, choose_damping
from microscopiq.compiler.quant.solve import Compensation, compensated, rounded
from microscopiq.compiler.quant.statistics import Statistics, power
from microscopiq.compiler.quant.upstream import toward_source
from microscopiq.target.errors import ConfigError
from tests.compiler.quant.rounding_grid import RoundingGrid, nearest, step_of

INPUTS, OUT = 40, 300


def weights() -> np.ndarray:
    """Return ``(out, in)``."""
    return np.random.default_rng(0).standard_normal((OUT, INPUTS)).astype(np.float32)


def statistics(drifted: bool = False) -> Statistics:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((300, 8)) @ rng.standard_normal((8, INPUTS))
    rows = (rows + 0.3 * rng.standard_normal(rows.shape)).astype(np.float32)
    source = rows + 0.2 * np.roll(rows, 1, axis=1) if drifted else None
    found = Statistics(INPUTS)
    for part, held_out in ((slice(250), False), (slice(250, None), True)):
        found.add(rows[part], held_out, None if source is None else source[part])
    return found


class Grids:
    """Makes grids, and keeps them."""

    def __init__(self, refusals: int = 0):
        self.made: list[RoundingGrid] = []
        self.refusals = refusals

    def __call__(self, matrix: np.ndarray) -> RoundingGrid:
        self.made.append(RoundingGrid(matrix, self.refusals))
        return self.made[-1]


def plain(matrix: np.ndarray, coarser: float = 1) -> np.ndarray:
    """Return ``(in, out)`` of ``(out, in)`` rounded to nearest."""
    return np.stack([nearest(row, step_of(row) * coarser) for row in matrix.T])


def test_rounding_to_nearest():
    grids = Grids()
    values, counts = rounded(weights(), grids)
    np.testing.assert_array_equal(values, plain(weights()))
    assert counts == {"saturated": 0}
    assert grids.made[0].prepared == [list(range(INPUTS))]


def test_a_grid_that_has_become_coarser_is_walked_again():
    grids = Grids(refusals=2)
    values, _ = rounded(weights(), grids)
    np.testing.assert_array_equal(values, plain(weights(), 4))
    assert len(grids.made) == 1 and len(grids.made[0].prepared) == 3


@pytest.mark.parametrize("passes", [0, 1, 2, 3])
def test_passes_keep_scales_and_choose_them_in_turns(passes):
    known, grids = statistics(), Grids()
    values, counts = compensated(weights(), grids, known, Compensation(0.1, passes))
    matrix = np.ascontiguousarray(weights().T)
    grid = RoundingGrid(matrix)
    expected = sweep(matrix, ordered(known.hessian, 0.1), grid)
    for keep in (True, False, True)[:passes]:
        expected, _ = refine(matrix, expected, known.hessian, 0.1, grid, keep)
    np.testing.assert_array_equal(values, expected)
    assert counts == {"saturated": 0, "damping": 0.1} and len(grids.made) == 1


@pytest.mark.parametrize(
    ("refinements", "gains", "passes"),
    [
        ("converged", [0.5, -0.02, 0.01, 0.0099, 0.5], 4),
        ("converged", [0.5, -0.0099, 0.5], 2),
        ("converged", [0.5] * 20, 16),
        (18, [0.0] * 20, 18),
    ],
)
def test_passes_end_when_they_gain_little(refinements, gains, passes, monkeypatch):
    """Less than 1 %, or at most 16 of them; a number of passes is kept whatever they gain."""
    keeps = []

    def scripted(_weights, values, _hessian, damping, _grid, keep):
        assert damping == 0.1
        keeps.append(keep)
        return values, gains[len(keeps) - 1]

    monkeypatch.setattr(solve, "refine", scripted)
    compensated(weights(), Grids(), statistics(), Compensation(0.1, refinements))
    assert keeps == [number % 2 == 0 for number in range(passes)]


@pytest.mark.parametrize(
    ("shape", "passes"),
    [
        ((1000, 1000), 16),  # 100e9 / 1e9 = 100
        ((2000, 5000), 5),  # 100e9 / 20e9
        ((4096, 4096), 1),  # 100e9 / 68.7e9
        ((10_000, 10_000), 1),  # less than one, but one there is
    ],
)
def test_large_matrices_get_fewer_passes(shape, passes):
    assert Compensation().passes(shape) == passes
    assert Compensation(refinements=7).passes(shape) == 7


def test_infinite_damping_is_rounding_to_nearest():
    values, counts = compensated(weights(), Grids(), statistics(), Compensation(np.inf))
    np.testing.assert_array_equal(values, plain(weights()))
    assert counts == {"saturated": 0}


def test_damping_is_chosen_by_the_noise_of_the_first_outputs():
    """Those of 256 of 300; their errors are squared and averaged over them."""
    known, grids = statistics(), Grids()
    _, counts = compensated(weights(), grids, known, Compensation(refinements=0))
    assert [grid.weights.shape for grid in grids.made] == [(INPUTS, 256), (INPUTS, 300)]
    errors = plain(weights()[:256]) - weights()[:256].T
    choice = choose_damping(known, np.square(errors.astype(np.float64)).mean(axis=1))
    assert counts == {"saturated": 0, "damping": choice.damping}
    assert choice.damping < 0.1


def test_damping_is_chosen_by_the_noise_of_each_channel(monkeypatch):
    seen = []

    def chosen(known, noise):
        seen.append(noise)
        return Choice(0.1, ordered(known.hessian, 0.1), 0.0)

    monkeypatch.setattr(solve, "choose_damping", chosen)
    compensated(weights(), Grids(), statistics(), Compensation(refinements=0))
    errors = (plain(weights()[:256]) - weights()[:256].T).astype(np.float64)
    np.testing.assert_allclose(seen, [np.square(errors).mean(axis=1)], rtol=1e-12)


def unlike(known: Statistics) -> Statistics:
    """Return statistics whose held-out rows have no direction: compensation does harm there."""
    known.held_out = 10 * np.eye(INPUTS, dtype=np.float32)
    return known


@pytest.mark.parametrize(
    ("expected", "held_out", "falls_back"),
    [
        (0.71, unlike, True),
        (0.71, lambda known: known, False),  # tried, but worse
        (0.7, unlike, False),  # not tried
        (0.1, unlike, False),
    ],
)
def test_where_held_out_rows_prefer_rounding_to_nearest(
    expected, held_out, falls_back, monkeypatch
):
    known, grids = held_out(statistics()), Grids()
    order = ordered(known.hessian, 0.01)
    monkeypatch.setattr(solve, "choose_damping", lambda *_: Choice(0.01, order, expected))
    values, counts = compensated(weights(), grids, known, Compensation(refinements=0))
    matrix = np.ascontiguousarray(weights().T)
    swept = sweep(matrix, order, RoundingGrid(matrix))
    lost = [power(known.held_out @ (v - matrix)) for v in (swept, plain(weights()))]
    assert (lost[1] < lost[0]) == (held_out is unlike)
    np.testing.assert_array_equal(values, plain(weights()) if falls_back else swept)
    assert counts == {"saturated": 0} | ({} if falls_back else {"damping": 0.01})
    # The noise of the probe, the compensated matrix, and rounding to nearest where in doubt.
    assert len(grids.made) == (3 if expected > 0.7 else 2)


def test_rows_of_zeros_prefer_nothing(monkeypatch):
    known = statistics()
    known.held_out = np.zeros((2, INPUTS), np.float32)
    order = ordered(known.hessian, 0.01)
    monkeypatch.setattr(solve, "choose_damping", lambda *_: Choice(0.01, order, 0.9))
    _, counts = compensated(weights(), Grids(), known, Compensation(refinements=0))
    assert counts == {"saturated": 0, "damping": 0.01}


def test_a_given_damping_is_never_doubted():
    known = unlike(statistics())
    values, counts = compensated(weights(), Grids(), known, Compensation(0.01, 0))
    matrix = np.ascontiguousarray(weights().T)
    expected = sweep(matrix, ordered(known.hessian, 0.01), RoundingGrid(matrix))
    np.testing.assert_array_equal(values, expected)
    assert counts["damping"] == 0.01


@pytest.mark.parametrize("upstream", [True, False])
def test_what_layers_before_changed_is_made_good_first(upstream):
    known, grids = statistics(drifted=True), Grids()
    compensated(weights(), grids, known, Compensation(0.1, 0, upstream))
    matrix = np.ascontiguousarray(weights().T)
    moved = toward_source(matrix, known)
    assert np.abs(moved - matrix).max() > 0.01
    np.testing.assert_array_equal(grids.made[0].weights, moved if upstream else matrix)


def test_defaults_are_those_of_the_published_recipes():
    assert Compensation() == Compensation("held-out", "converged", True)


@pytest.mark.parametrize("damping", [0, 0.0, -0.1, True, "auto", None])
def test_damping_that_is_not_allowed(damping):
    with pytest.raises(ConfigError, match=r"damping = .*; allowed: a number above 0 or 'held-out'"):
        Compensation(damping=damping)


@pytest.mark.parametrize("refinements", [-1, 101, 2.5, "all", None])
def test_refinements_that_are_not_allowed(refinements):
    with pytest.raises(ConfigError, match=r"refinements = .*; allowed: 0 to 100 or 'converged'"):
        Compensation(refinements=refinements)


def test_options_at_the_ends_of_what_is_allowed():
    assert [Compensation(refinements=n).refinements for n in (0, 100)] == [0, 100]
    assert [Compensation(damping=d).damping for d in (1, 1e-9)] == [1, 1e-9]
    with pytest.raises(ConfigError, match="upstream = 1; allowed: true, false"):
        Compensation(upstream=1)


def test_too_little_damping_names_the_rows():
    known = Statistics(INPUTS)
    known.add(np.full((3, INPUTS), 100, np.float32))
    with pytest.raises(ConfigError, match="damping = 1e-12 is too little: the Hessian of 3 rows"):
        compensated(weights(), Grids(), known, Compensation(1e-12))
    assert isinstance(ordered(known.hessian, 0.1), Order)
