"""compiler/quant/base.py: what every method promises for every format and option that it names."""

import dataclasses
import functools

import numpy as np
import pytest

from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import METHODS, bits_of, quantize_weight, values_of
from microscopiq.compiler.quant.host_formats import STUDY_FORMATS, StudyWeight
from microscopiq.compiler.quant.reach import largest_weight
from microscopiq.compiler.quant.statistics import Statistics
from microscopiq.target.errors import InputError
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.packing import pack, unpack
from microscopiq.target.weight import dequantize
from tests.distinct_formats import DISTINCT

CASES = [
    (name, weight_format, calibrated)
    for name, entry in METHODS.items()
    for weight_format in entry.formats
    for calibrated in ((True,) if entry.needs_statistics else (False, True))
    if weight_format in (*DISTINCT, *STUDY_FORMATS) or (name == "rtn" and not calibrated)
]
every_case = pytest.mark.parametrize(("method", "weight_format", "calibrated"), CASES)
OPTIONS = {
    "awq": [{"clip": "mse"}, {"clip": "none"}],
    "fineq": [{"rule": "threshold4"}],
    "gptq": [{"clip": "mse"}, {"clip": "outputs"}, {"damping": 0.05}, {"refinements": 0},
             {"upstream": False}],
    "microscopiq": [
        {"sigmas": 2.5}, {"inlier_scale": "floor"}, {"inlier_scale": "ceil"},
        {"outlier_block": 128}, {"prune": False}, {"damping": 0.05}, {"refinements": 2},
        {"upstream": False},
    ],
    "olive": [],
    "rtn": [{"clip": "mse"}, {"clip": "outputs"}],
}  # fmt: skip
CHOICES = [
    (name, METHODS[name].formats[0], options)
    for name, several in OPTIONS.items()
    for options in several
]
COUNTS = {
    "aligned", "demoted", "flagged", "micro_blocks", "outlier_clusters", "outliers", "overflow",
    "pruned", "saturated", "second_passes", "uncompensated", "zeroed",
}  # fmt: skip
OUT, INPUTS = 37, 150
MOST_LOST = {2: 0.8, 3: 0.42, 4: 0.23, 6: 0.06, 8: 0.03}
"""Largest ``|W - Q| / |W|`` of rounding to nearest on these weights, by the bits of a slot. Found:
int2 0.79, int3 0.40, fp4-e3m0 0.2, int6 0.04, fp8-channel 0.024."""


def weights() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.02 * rng.standard_t(5, (OUT, INPUTS))).astype(np.float32)


def rows() -> np.ndarray:
    """Return activations of few directions: errors can be made good."""
    rng = np.random.default_rng(1)
    mixed = rng.standard_normal((200, 20)) @ rng.standard_normal((20, INPUTS))
    return (mixed + 0.3 * rng.standard_normal(mixed.shape)).astype(np.float32)


def statistics(drifted: bool) -> Statistics:
    found = Statistics(INPUTS)
    source = rows() + 0.1 * np.roll(rows(), 1, axis=1) if drifted else None
    for part, held_out in ((slice(160), False), (slice(160, None), True)):
        found.add(rows()[part], held_out, None if source is None else source[part])
    return found


def quantized(method, weight_format, calibrated, options=None, drifted=False):
    known = statistics(drifted) if calibrated else None
    return quantize_weight(method, weights(), weight_format, "x", known, options)


def slot_bits(weight_format: str) -> int:
    if weight_format in WEIGHT_FORMATS:
        return WEIGHT_FORMATS[weight_format].bits
    return STUDY_FORMATS[weight_format].bits


def check(weight, counts: dict, weight_format: str) -> np.ndarray:
    """Check what holds of any result; return its values."""
    values = values_of(weight)
    assert values.shape == (OUT, INPUTS) and values.dtype == np.float32
    assert np.isfinite(values).all() and weight.format == weight_format
    assert set(counts) <= COUNTS | {"damping"} and "saturated" in counts
    assert all(isinstance(n, int) and n >= 0 for key, n in counts.items() if key != "damping")
    assert slot_bits(weight_format) * 0.75 <= bits_of(weight) < slot_bits(weight_format) + 7
    if not isinstance(weight, StudyWeight):
        (read,) = unpack(pack([weight]), weight_format, OUT, INPUTS)
        np.testing.assert_array_equal(dequantize(read), values)
    return values


@every_case
def test_contract(method, weight_format, calibrated):
    weight, counts = quantized(method, weight_format, calibrated)
    values = check(weight, counts, weight_format)
    if weight_format in STUDY_FORMATS:  # test_methods.py does it for those of the machine
        again, same = quantized(method, weight_format, calibrated)
        np.testing.assert_array_equal(values_of(again), values)
        assert same == counts
    lost = np.linalg.norm(values - weights()) / np.linalg.norm(weights())
    if not calibrated:
        assert lost <= MOST_LOST[slot_bits(weight_format)]
    if calibrated and weight_format in METHODS["rtn"].formats:
        # Groups are judged one by one when ranges are clipped, so that their sum may be worse.
        nearest, _ = quantize_weight("rtn", weights(), weight_format, "x")
        errors = [np.linalg.norm(rows() @ (values_of(w) - weights()).T) for w in (weight, nearest)]
        assert errors[0] <= errors[1] * (1.05 if method == "awq" else 1.001)


@functools.cache
def plain_values(method, weight_format) -> np.ndarray:
    return values_of(quantized(method, weight_format, True, drifted=True)[0])


@pytest.mark.parametrize(("method", "weight_format", "options"), CHOICES)
def test_options_keep_the_contract_and_change_something(method, weight_format, options):
    found = quantized(method, weight_format, True, options, drifted=True)
    values = check(*found, weight_format)
    assert (values != plain_values(method, weight_format)).any()


def test_every_option_of_every_method_is_tried():
    for name, entry in METHODS.items():
        tried = {key for options in OPTIONS[name] for key in options}
        assert tried == {field.name for field in dataclasses.fields(entry.options)}


@every_case
def test_infinite_weights_are_refused(method, weight_format, calibrated):
    bad = weights()
    bad[3, 7] = -np.inf
    known = statistics(False) if calibrated else None
    with pytest.raises(InputError, match=r"layer 'head': weight\[3, 7\] is -inf; 1 of 5550 weigh"):
        quantize_weight(method, bad, weight_format, "head", known)


HARD = [(mean, seen) for mean in (1, 100, 1e4) for seen in ("plain", "centered")]


def hard_rows(mean: float) -> np.ndarray:
    """Return rows of few directions far from 0, with dead, constant and repeated channels."""
    rng = np.random.default_rng(2)
    mixed = rng.standard_normal((200, 20)) @ rng.standard_normal((20, INPUTS))
    rows = mixed / mixed.std() + mean * np.abs(rng.standard_normal(INPUTS))
    rows[:, 3], rows[:, 5], rows[:, 9], rows[:, 10] = 0, 7, rows[:, 8], rows[:, 8]
    return rows.astype(np.float32)


@pytest.mark.parametrize(("mean", "seen"), HARD)
def test_compensation_is_no_worse_than_rounding_where_means_are_large(mean, seen):
    """Sums of fp32 about 0 would have no digit of the spread left at a mean of 10,000 times it."""
    x = hard_rows(mean)
    known = Statistics(INPUTS)
    known.add(x[:90])
    known.add(x[90:160])
    known.add(x[160:], held_out=True)
    given = known.centered() if seen == "centered" else known
    exact = x[:160].astype(np.float64)
    exact -= exact.mean(axis=0) if seen == "centered" else 0
    want = exact.T @ exact
    assert np.linalg.norm(given.hessian - want) <= 1e-5 * np.linalg.norm(want)
    for method in METHODS:
        if not METHODS[method].needs_statistics and method != "microscopiq":
            continue
        weight_format = METHODS[method].formats[-1 if method == "microscopiq" else 0]
        values, counts = quantize_weight(method, weights(), weight_format, "x", given)
        base = method if method == "microscopiq" else "rtn"
        nearest, _ = quantize_weight(base, weights(), weight_format, "x")
        lost = [
            np.square(exact @ (values_of(w) - weights()).T.astype(np.float64)).sum()
            for w in (values, nearest)
        ]
        assert lost[0] <= lost[1] * 1.001 and "uncompensated" not in counts


@pytest.mark.parametrize("weight_format", [*WEIGHT_FORMATS, *STUDY_FORMATS])
def test_weights_beyond_every_scale_are_refused(weight_format):
    """Just below they are held: nothing of their size gets lost."""
    method = {"fineq": "fineq", "olive4": "olive"}.get(weight_format, "rtn")
    limit = largest_weight(weight_format)
    huge = weights()
    if np.isfinite(limit):
        huge[3, 7] = min(2 * limit, 3e38)
        with pytest.raises(InputError, match=r"layer 'x': weight\[3, 7\] is .* 1 of 5550 weights"):
            quantize_weight(method, huge, weight_format, "x")
    huge[3, 7] = min(limit / 2, 1e15)
    found, _ = quantize_weight(method, huge, weight_format, "x")
    assert values_of(found)[3, 7] == pytest.approx(huge[3, 7], rel=0.2)
