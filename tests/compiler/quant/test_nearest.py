"""compiler/quant/grids/nearest.py: the nearest code of every format, ties and ends included."""

import numpy as np
import pytest

from microscopiq.compiler.quant.grids.nearest import nearest_of
from microscopiq.target.formats import WEIGHT_FORMATS

ONE_BY_ONE = [
    name for name, row in WEIGHT_FORMATS.items() if row.alone and not row.has_outliers
]  # fmt: skip


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_no_code_is_nearer_and_halfway_the_even_one_wins(name):
    row = WEIGHT_FORMATS[name]
    rng = np.random.default_rng(row.code)
    quarters = np.arange(-4 * row.q_max - 16, 4 * row.q_max + 17, dtype=np.float32) / 4
    ratio = np.concatenate([
        quarters,
        np.nextafter(quarters, np.float32(np.inf)),
        np.nextafter(quarters, np.float32(-np.inf)),
        rng.uniform(-1.5 * row.q_max, 1.5 * row.q_max, 500).astype(np.float32),
        np.float32([1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf]),
    ])  # fmt: skip
    found = nearest_of(row)(ratio[None])[0]
    assert found.dtype == np.float32
    codes = {value: code for code, value in reversed(list(enumerate(row.values)))}
    if row.table is None:
        codes = {value: abs(value) for value in codes if abs(value) <= row.q_max}
    values = np.array(list(codes), np.float64)
    # Beyond the largest magnitude every distance saturates to the same end.
    within = np.clip(ratio.astype(np.float64), values.min(), values.max())
    distance = np.abs(within[:, None] - values)
    nearest = distance == distance.min(axis=1, keepdims=True)
    odd = np.array([code % 2 for code in codes.values()])
    tied = nearest.sum(axis=1) > 1
    wanted = values[np.argmin(np.where(nearest, odd, 2), axis=1)]
    assert tied.any()
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
