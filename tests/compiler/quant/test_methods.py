"""compiler/quant: the contract of every registered quantization method and format."""

import dataclasses
import itertools

import ml_dtypes
import numpy as np
import pytest

from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import METHODS, quantize_weight, values_of
from microscopiq.compiler.quant.e4m3 import to_e4m3
from microscopiq.compiler.quant.host_formats import STUDY_FORMATS
from microscopiq.compiler.quant.reach import largest_weight
from microscopiq.compiler.quant.statistics import Statistics
from microscopiq.target.errors import ConfigError, InputError
from microscopiq.target.formats import MACRO_BLOCK, MICRO_BLOCK, WEIGHT_FORMATS
from microscopiq.target.packing import pack, unpack
from microscopiq.target.routing import best_pairing, passes, routable
from microscopiq.target.weight import QuantizedWeight, blocks, dequantize, integers
from tests.distinct_formats import DISTINCT

CASES = [
    (name, fmt, calibrated)
    for name, entry in METHODS.items()
    for fmt in entry.formats
    if fmt in DISTINCT
    for calibrated in ((True,) if entry.needs_statistics else (False, True))
]
RELATIVE_ERROR = {
    "int8": 0.01, "int4": 0.2, "ms4": 0.15, "ms2": 0.45, "fineq": 0.4, "olive4": 0.15, "int3": 0.4,
    "mxfp6": 0.06, "nvfp4": 0.13,
}  # fmt: skip
"""Largest |W - Q| / |W| in the Frobenius norm on heavy-tailed weights, by format. MicroScopiQ A6
gives 0.33 for 2 bits on Gaussian weights."""


def _heavy_tailed(out: int, inputs: int) -> np.ndarray:
    rng = np.random.default_rng(out * 1000 + inputs)
    return (0.02 * rng.standard_t(5, (out, inputs))).astype(np.float32)


def _with_dead_rows() -> np.ndarray:
    weight = _heavy_tailed(130, 140)
    weight[3], weight[:, 5], weight[:, 128:] = 0, 0, 0
    return weight


WEIGHTS = {
    "whole blocks": _heavy_tailed(256, 256),
    "ragged": _heavy_tailed(133, 131),
    "one output": _heavy_tailed(1, 140),
    "one input": _heavy_tailed(300, 1),
    "single element": np.float32([[-0.3]]),
    "seven outputs": _heavy_tailed(7, 9),
    "all zero": np.zeros((9, 130), np.float32),
    "zero rows and columns": _with_dead_rows(),
    "constant": np.full((129, 129), 0.1, np.float32),
    "constant rows": np.repeat(_heavy_tailed(40, 1), 140, axis=1),
    "constant columns": np.repeat(_heavy_tailed(1, 40), 140, axis=0),
    "huge": _heavy_tailed(130, 20) * np.float32(1e30),
    "tiny": _heavy_tailed(130, 20) * np.float32(1e-30),
    "denormal": np.full((16, 16), 1e-42, np.float32),
    "wide spread": _heavy_tailed(140, 200) * np.logspace(-9, 9, 200, dtype=np.float32),
    "two outliers of five outputs": np.where(np.arange(5)[:, None] > 2, 8, 0.01).astype(np.float32)
    * np.ones((1, 130), np.float32),
    "all outliers": np.where(np.arange(256)[:, None] % 128 < 6, 8, 0.01).astype(np.float32)
    * np.ones((1, 130), np.float32),
}
EXTREME = {"huge", "tiny", "denormal", "wide spread"}
"""fp16 scales end at 65504 and 6e-8, Isf at 2^+-100: outside, only the error's sign is promised."""

pytestmark = [
    pytest.mark.filterwarnings("error"),
]


def _rows(inputs: int, rows: int, seed: int = 0) -> np.ndarray:
    """Return rows of few directions and some noise: what errors can be made good with."""
    rng = np.random.default_rng(inputs)
    mixing = rng.standard_normal((max(1, inputs // 8), inputs))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, len(mixing))) @ mixing + 0.3 * rng.standard_normal(
        (rows, inputs)
    )
    x[:, ::17] *= 10
    return x.astype(np.float32)


def _statistics(inputs: int, held_out: int = 32) -> Statistics:
    statistics = Statistics(inputs)
    statistics.add(_rows(inputs, 256))
    statistics.add(_rows(inputs, held_out, seed=1), held_out=True)
    return statistics


def _quantize(method: str, weight: np.ndarray, fmt: str, calibrated: bool, layer: str = "x"):
    statistics = _statistics(weight.shape[1]) if calibrated else None
    return quantize_weight(method, weight, fmt, layer, statistics)


every_case = pytest.mark.parametrize(("method", "fmt", "calibrated"), CASES)
every_weight = pytest.mark.parametrize("label", WEIGHTS)


@every_case
@every_weight
def test_contract(method, fmt, calibrated, label):
    matrix = WEIGHTS[label]
    before = matrix.copy()
    if np.abs(matrix).max() > largest_weight(fmt):
        with pytest.raises(InputError, match=f"layer 'x': .* the largest that '{fmt}' has a scale"):
            _quantize(method, matrix, fmt, calibrated)
        return
    weight, counts = _quantize(method, matrix, fmt, calibrated)
    np.testing.assert_array_equal(matrix, before)
    assert weight.format == fmt and weight.slots.shape == matrix.shape
    damping = counts.pop("damping", None)
    assert damping is None or (calibrated and 0 < damping < np.inf)
    assert all(isinstance(count, int) and count >= 0 for count in counts.values())
    _check_survives_packing(weight)
    _check_sums_fit_32_bits(weight)
    if method == "awq":
        _check_outputs(matrix, weight)
    elif damping is None:
        _check_error(matrix, weight, label)
    if weight.row.has_outliers:
        _check_routes(weight, counts)


def _check_survives_packing(weight: QuantizedWeight) -> None:
    (read,) = unpack(pack([weight]), weight.format, *weight.slots.shape)
    for field in dataclasses.fields(weight):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(weight, field.name))


def _check_sums_fit_32_bits(weight: QuantizedWeight) -> None:
    values, _ = integers(weight)
    starts = np.arange(0, values.shape[1], weight.row.group)
    total = np.add.reduceat(np.abs(values.astype(np.int64)), starts, axis=1)
    assert (total * 127 < 1 << 31).all()


def _check_routes(weight: QuantizedWeight, counts: dict[str, int]) -> None:
    flagged = weight.relative_exponent >= 0
    needed = passes(weight.pairs)
    np.testing.assert_array_equal(needed > 0, flagged)
    # Some slots route at once in a micro-block of any width: see tests/target/test_routing.py.
    assert counts["second_passes"] == (needed == 2).sum() == 0
    last = len(weight.slots) - (len(weight.pairs) - 1) * MICRO_BLOCK
    assert weight.pairs[-1].max() < last


def _check_error(matrix: np.ndarray, weight: QuantizedWeight, label: str) -> None:
    value = dequantize(weight)
    assert np.isfinite(value).all()
    error, magnitude = np.abs(value.astype(np.float64) - matrix), np.abs(matrix)
    # No weight moves further than the largest of its block: never worse than pruning it all.
    if weight.row.has_outliers:
        starts = np.arange(0, len(matrix), MACRO_BLOCK)
        largest = np.maximum.reduceat(magnitude, starts, axis=0)
        largest = np.repeat(largest, MACRO_BLOCK, axis=0)[: len(matrix)]
    else:
        starts = np.arange(0, matrix.shape[1], weight.row.group)
        largest = np.maximum.reduceat(magnitude, starts, axis=1)
        largest = np.repeat(largest, weight.row.group, axis=1)[:, : matrix.shape[1]]
    assert (error <= largest).all()
    assert not value[:, ~matrix.any(axis=0)].any() and not value[~matrix.any(axis=1)].any()
    if label not in EXTREME and matrix.size > 100 and matrix.any():
        relative = np.linalg.norm(value - matrix) / np.linalg.norm(matrix)
        assert relative <= RELATIVE_ERROR[weight.format]


def _check_outputs(matrix: np.ndarray, weight: QuantizedWeight) -> None:
    """Check each group's part of the outputs: clipped ranges lose no more there than whole ones."""
    plain, _ = quantize_weight("rtn", matrix, weight.format, "x")
    x = _rows(matrix.shape[1], 256).astype(np.float64)
    for start in range(0, matrix.shape[1], weight.row.group):
        group = np.s_[:, start : start + weight.row.group]
        errors = [
            np.square(x[group] @ (dequantize(w)[group] - matrix[group]).astype(np.float64).T).sum()
            for w in (weight, plain)
        ]
        assert errors[0] <= errors[1] * 1.001


LEAST_GAIN = {"rtn": 1.001, "awq": 0.995}
"""Largest part of rounding's error that a method may leave with samples; others 0.9. AWQ's scales
are a recipe's, the method clips ranges alone."""
CALIBRATED = [
    (name, fmt) for name, fmt, calibrated in CASES if calibrated and WEIGHT_FORMATS[fmt].alone
]


@pytest.mark.parametrize(("method", "fmt"), CALIBRATED)
def test_calibration_lowers_the_error_on_rows_nobody_has_seen(method, fmt):
    matrix = _heavy_tailed(140, 200)
    unseen = _rows(200, 500, seed=2)
    errors = []
    for name, calibrated in (("rtn", False), (method, True)):
        weight, _ = _quantize(name, matrix, fmt, calibrated)
        errors.append(np.linalg.norm(unseen @ (dequantize(weight) - matrix).T))
    assert errors[1] < LEAST_GAIN.get(method, 0.9) * errors[0]


@pytest.mark.parametrize(("method", "fmt"), CALIBRATED)
def test_calibration_on_uncorrelated_inputs_does_no_harm(method, fmt):
    """Of fewer rows than channels: GPTQ's fixed damping believes in directions they don't have."""
    matrix, rng = _heavy_tailed(140, 200), np.random.default_rng(0)
    statistics = Statistics(200)
    statistics.add(rng.standard_normal((150, 200)).astype(np.float32))
    statistics.add(rng.standard_normal((100, 200)).astype(np.float32), held_out=True)
    plain, _ = quantize_weight("rtn", matrix, fmt, "x")
    found, _ = quantize_weight(method, matrix, fmt, "x", statistics)
    # The error over all inputs there could be is that of the weights.
    errors = [np.linalg.norm(dequantize(weight) - matrix) for weight in (plain, found)]
    assert errors[1] <= errors[0] * 1.02
    if method == "gptq":
        trusting, _ = quantize_weight(method, matrix, fmt, "x", statistics, {"damping": 0.01})
        assert np.linalg.norm(dequantize(trusting) - matrix) > 1.2 * errors[0]


GROUPED = [name for name, row in STUDY_FORMATS.items() if row.group]


@pytest.mark.parametrize("fmt", GROUPED)
def test_formats_for_comparison(fmt):
    """Codes between the extremes of a group, scale and zero point included in the bits."""
    matrix, row = _heavy_tailed(40, 200), STUDY_FORMATS[fmt]
    weight, counts = quantize_weight("rtn", matrix, fmt, "x")
    groups = -(-200 // row.group)
    assert (weight.format, weight.bits) == (fmt, row.bits + 32 * groups / 200)
    assert counts["saturated"] <= 40 * groups  # the zero point is rounded, away from an end
    for start in range(0, 200, row.group):
        group, values = matrix[:, start : start + row.group], weight.values[:, start:]
        values = values[:, : row.group]
        step = np.ptp(np.append(group, np.zeros((40, 1)), axis=1), axis=1) / (2**row.bits - 1)
        # Half a step, and once more at the ends: the zero point is rounded, fp16 scales too.
        assert (np.abs(values - group) <= 1.01 * step[:, None]).all()
        assert max(len(np.unique(line)) for line in values) <= 2**row.bits
    better, _ = quantize_weight("gptq", matrix, fmt, "x", _statistics(200))
    unseen = _rows(200, 500, seed=2)
    errors = [np.linalg.norm(unseen @ (w.values - matrix).T) for w in (weight, better)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("fmt", [name for name, row in STUDY_FORMATS.items() if row.codes])
def test_formats_of_a_scale_per_channel(fmt):
    matrix = _heavy_tailed(40, 200)
    matrix[3] = 0
    weight, counts = quantize_weight("rtn", matrix, fmt, "x")
    assert (weight.format, weight.bits, counts) == (fmt, 8 + 32 / 200, {"saturated": 0})
    largest = {"int8-channel": 127, "fp8-channel": 448}[fmt]
    scale = np.abs(matrix).max(axis=1, keepdims=True) / np.float32(largest)
    codes = matrix / np.where(scale > 0, scale, 1)
    expected = np.rint(codes) if largest == 127 else codes.astype(ml_dtypes.float8_e4m3fn)
    np.testing.assert_array_equal(weight.values, expected.astype(np.float32) * scale)
    better, _ = quantize_weight("gptq", matrix, fmt, "x", _statistics(200))
    unseen = _rows(200, 500, seed=2)
    errors = [np.linalg.norm(unseen @ (w.values - matrix).T) for w in (weight, better)]
    assert errors[1] < 0.9 * errors[0]


def test_e4m3_is_that_of_ml_dtypes():
    """All values of fp16 in its range and the halves between; beyond 448 ours saturates."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = values[np.isfinite(values)]
    around = np.concatenate([values, np.nextafter(values, np.float32(0)), values / 1024])
    inside = around[np.abs(around) <= 448]
    expected = inside.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    np.testing.assert_array_equal(to_e4m3(inside).view(np.int32), expected.view(np.int32))
    assert to_e4m3(np.float32([449, 1e30, -1e30])).tolist() == [448, 448, -448]


@pytest.mark.parametrize("fmt", ["int4", "uint2-g128", "uint4-g32", "int8-channel", "fp8-channel"])
def test_clipped_ranges_lose_less(fmt):
    """Squared errors of weights: never more, and by more than a tenth where codes are few."""
    matrix = _heavy_tailed(40, 260)
    found = {
        clip: np.square(values_of(quantize_weight("rtn", matrix, fmt, "x", None, {"clip": clip})[0])
                        - matrix).sum()
        for clip in ("none", "mse")
    }  # fmt: skip
    bound = 0.9 if fmt in ("int4", "uint2-g128") else 1
    assert found["mse"] <= bound * found["none"]


def test_clipping_by_outputs_needs_samples_and_ranges():
    matrix = _heavy_tailed(20, 30)
    with pytest.raises(ConfigError, match="clip = 'outputs' needs calibration data; 'mse' and"):
        quantize_weight("rtn", matrix, "int4", "x", None, {"clip": "outputs"})
    with pytest.raises(ConfigError, match="format 'ms4' has outliers instead of ranges to clip"):
        quantize_weight("rtn", matrix, "ms4", "x", None, {"clip": "mse"})
    with pytest.raises(ConfigError, match="unknown clip 'best'"):
        quantize_weight("rtn", matrix, "int4", "x", None, {"clip": "best"})


def test_too_little_damping_is_refused_and_the_search_passes_it_by():
    """Of one row there is one direction: nothing but damping makes the rest positive definite."""
    matrix, statistics = _heavy_tailed(20, 300), Statistics(300)
    statistics.add(np.full((1, 300), 1e3, np.float32))
    with pytest.raises(ConfigError, match="damping = 1e-12 is too little: the Hessian of 1 rows"):
        quantize_weight("gptq", matrix, "int4", "x", statistics, {"damping": 1e-12})
    statistics.add(_rows(300, 40), held_out=True)
    weight, _ = quantize_weight("gptq", matrix, "int4", "x", statistics)
    assert weight.slots.shape == matrix.shape


def test_held_out_rows_are_kept_evenly_and_apart():
    statistics = Statistics(3)
    rows = np.arange(3 * 5000, dtype=np.float32).reshape(-1, 3)
    for part in np.array_split(rows, 7):
        statistics.add(part, held_out=True)
    kept = statistics.held_out
    assert 256 < len(kept) <= 512 and statistics.held_out_rows == 5000
    np.testing.assert_array_equal(kept, rows[:: 5000 // len(kept) + 1])
    assert not statistics.hessian.any() and not statistics.largest.any()
    assert not statistics.magnitudes.any()
    with pytest.raises(FloatingPointError):
        statistics.add(np.full((1, 3), np.nan, np.float32))


@every_case
def test_non_finite_weights_are_refused(method, fmt, calibrated):
    weight = _heavy_tailed(20, 30)
    weight[4, 7], weight[5, 1] = np.nan, np.inf
    with pytest.raises(InputError) as caught:
        _quantize(method, weight, fmt, calibrated, "encoder.0")
    assert str(caught.value) == (
        "layer 'encoder.0': weight[4, 7] is nan; 2 of 600 weights are not finite, all must be"
    )


@every_case
def test_a_second_time_and_another_memory_order_give_the_same(method, fmt, calibrated):
    matrix = WEIGHTS["ragged"]
    a, counts = _quantize(method, np.asfortranarray(matrix), fmt, calibrated)
    b, same = _quantize(method, matrix, fmt, calibrated)
    assert pack([a]) == pack([b]) and counts == same


def test_unknown_method_or_format():
    with pytest.raises(ConfigError, match=r"unknown quantization method 'rnt'; did you mean rtn"):
        quantize_weight("rnt", WEIGHTS["ragged"], "int4", "x")
    message = r"method 'rtn' has no format 'fineq' \(allowed: int4, int8, ms2, ms4, int2"
    with pytest.raises(ConfigError, match=message):
        quantize_weight("rtn", WEIGHTS["ragged"], "fineq", "x")
    with pytest.raises(ConfigError, match="layer 'x': method 'gptq' needs calibration data"):
        quantize_weight("gptq", WEIGHTS["ragged"], "int4", "x")


@pytest.mark.parametrize("fmt", ["ms2", "ms4"])
def test_microscopiq_keeps_outliers_and_prunes_the_least_that_routes(fmt):
    """Each kept outlier costs an inlier of its own micro-block, of least w^2 (MicroScopiQ A2)."""
    matrix = _heavy_tailed(MACRO_BLOCK, 64)
    weight, counts = quantize_weight("microscopiq", matrix, fmt, "x")
    kept = weight.pairs[..., 0] >= 0
    assert counts["outliers"] == counts["pruned"] == kept.sum() > 0
    assert counts["flagged"] == (weight.relative_exponent >= 0).sum()
    assert kept.sum(axis=-1).max() <= 4
    saliency = np.square(matrix.astype(np.float64)).reshape(-1, 8, 64)
    dearer = 0
    for micro, k in zip(*np.nonzero(kept.any(axis=-1)), strict=True):
        upper, lower = weight.pairs[micro, k, kept[micro, k]].T
        inliers = np.setdiff1d(np.arange(8), upper)
        cost = saliency[micro, :, k]
        sets = [list(slots) for slots in itertools.combinations(inliers, len(upper))]
        routing = [slots for slots in sets if routable(best_pairing(upper, slots))]
        assert cost[np.sort(lower)].sum() == min(cost[slots].sum() for slots in routing)
        dearer += set(lower) != set(inliers[np.argsort(cost[inliers])][: len(upper)])
    # 1 of 7 slots is out of reach of a single outlier: least saliency alone wouldn't do.
    assert 0 < dearer < counts["flagged"] / 4


@pytest.mark.parametrize("fmt", ["ms2", "ms4"])
def test_microscopiq_counts_what_is_clipped(fmt):
    """Inliers a half beyond the largest code or more, and outliers rounded out of their octave."""
    matrix = _heavy_tailed(MACRO_BLOCK, 64)
    weight, counts = quantize_weight("microscopiq", matrix, fmt, "x", None, {"sigmas": 2.0})
    row, magnitude = weight.row, np.abs(matrix).astype(np.float64)
    step = np.exp2(weight.isf[0].astype(float))
    codes, beyond = np.rint(magnitude / step), 0
    for micro, k in zip(*np.nonzero(weight.relative_exponent >= 0), strict=True):
        upper, lower = weight.pairs[micro, k, weight.pairs[micro, k, :, 0] >= 0].T + 8 * micro
        exponent = np.exp2(float(weight.relative_exponent[micro, k])) * step[k]
        steps = 1 << row.mantissa_bits
        mantissa = np.rint((magnitude[upper, k] / exponent - 1) * steps)
        beyond += ((mantissa < 0) | (mantissa >= steps)).sum()
        codes[upper, k] = codes[lower, k] = 0
    assert counts["saturated"] == (codes > row.q_max).sum() + beyond
    assert beyond > 0 and counts["saturated"] > beyond


def _pair_error(pair: np.ndarray, step: float) -> float:
    """Return the least squared error of two clusters, by trying all there is."""
    narrow, wide = step * np.arange(-1, 2), step * np.arange(-3, 4)
    patterns = [[narrow] * 3] + [
        [np.zeros(1) if place == zero else wide for place in range(3)] for zero in range(3)
    ]
    return min(
        sum(np.abs(levels[k % 3] - w).min() ** 2 for k, w in enumerate(pair)) for levels in patterns
    )


def test_fineq_takes_the_best_pattern_of_each_pair():
    matrix = _heavy_tailed(9, 140)
    weight, counts = quantize_weight("fineq", matrix, "fineq", "x")
    found = np.square(dequantize(weight).astype(np.float64) - matrix)
    for row, line in enumerate(matrix.astype(np.float64)):
        for first in [*range(0, 126, 6), 126, 128, 134]:
            end = min(first + 6, 128 if first < 128 else 140)
            step = float(weight.scale[first // 128, row])
            least = _pair_error(line[first:end], step)
            np.testing.assert_allclose(found[row, first:end].sum(), least, rtol=1e-5, atol=1e-12)
    # A pattern says the same of the second cluster, which the 22nd pair of 128 inputs doesn't have.
    clusters = np.where(np.arange(weight.pattern.shape[1]) == 21, 1, 2)
    assert counts["outlier_clusters"] == ((weight.pattern > 0) * clusters).sum() > 0
    assert counts["zeroed"] > 0 and counts["saturated"] > 0


def test_fineq_keeps_outliers_and_their_neighbours():
    """Step 1: 3 and -2 fit 3 bits beside the least of their cluster, ones fit 2 bits."""
    matrix = np.float32([[1, -1, 0, 1, 0, 1] + [3, 0.1, -2, -0.2, 1, 2.1] + [-1, 1, 1] * 38])
    weight, counts = quantize_weight("fineq", matrix, "fineq", "x")
    assert weight.scale.tolist() == [[1]]
    assert weight.pattern[0, :2].tolist() == [0, 2] and not weight.pattern[0, 3:].any()
    assert dequantize(weight)[0, :12].tolist() == [1, -1, 0, 1, 0, 1, 3, 0, -2, 0, 0, 2]
    assert counts == {"outlier_clusters": 2, "zeroed": 2, "saturated": 0}


def test_fineq_by_threshold():
    """Beyond 4 times the least: a zero in the pair; else 2 bits, though a zero would cost less."""
    matrix = np.float32(
        [[3, 3, 0.8] * 2 + [1, 0.2, -1, 0, 0, 0] + [0, 1, 1, 1, 1, 1] * 19 + [3, 1]]
    )
    weight, _ = quantize_weight("fineq", matrix, "fineq", "x", None, {"rule": "threshold4"})
    by_error, _ = quantize_weight("fineq", matrix, "fineq", "x")
    assert weight.scale.tolist() == by_error.scale.tolist() == [[1]]
    # 3 <= 4 * 0.8; 1 > 4 * 0.2; a weight of 0 counts; in the last pair nothing but 3 and 1 does.
    assert weight.pattern.tolist() == [[0, 2] + [1] * 19 + [0]]
    assert by_error.pattern[0, 0] == 3 and not by_error.pattern[0, 2:21].any()
    assert dequantize(weight)[0, :12].tolist() == [1] * 6 + [1, 0, -1, 0, 0, 0]
    assert dequantize(weight)[0, -2:].tolist() == [1, 1]


def test_figure_3_of_the_paper():
    """2.99 and -3.50 in one micro-block: Upper 01, Lower 00 and Upper 11, Lower 11."""
    matrix = np.tile(np.float32([0.1, -0.1]), MACRO_BLOCK // 2)[:, None].copy()
    matrix[[0, 3], 0] = 2.99, -3.50
    weight, _ = quantize_weight("microscopiq", matrix, "ms2", "figure 3")
    (pairs,) = weight.pairs[0]
    halves = [weight.slots[column, 0] for pair in pairs[:2] for column in pair]
    assert pairs[:2, 0].tolist() == [0, 3] and (pairs[2:] == -1).all()
    assert halves == [0b01, 0b00, 0b11, 0b11]
    assert dequantize(weight)[[0, 3], 0].tolist() == [3.0, -3.5]
    assert blocks(MACRO_BLOCK, 8) == (weight.relative_exponent[:, 0] == -1).sum() + 1
    assert set(DISTINCT) == {fmt for _, fmt, _ in CASES}
