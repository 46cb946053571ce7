"""The vector unit's functions: the core against NumPy bit for bit, and both against true values."""

import numpy as np
import pytest
import tvm_ffi

from benchmarks.minimax import FITS, solve
from microscopiq.runtime import load
from microscopiq.runtime.reference.functions import apply_function
from microscopiq.target.coefficients import COEFFICIENTS
from microscopiq.target.errors import InputError
from microscopiq.target.functions import FUNCTIONS
from microscopiq.target.functions_gen import HEADER, ROOT, header

SPECIAL = np.array(
    [
        0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-45, -1e-45, 2.0**-126, 3.4028235e38,
        -3.4028235e38, 88.8, -104, 2.0**31, -(2.0**31), 127.5, -128.9, 0.5, 1.5, 2.5, -0.5, -2.5,
        0.785398185253, 2.0**23 + 1, 2.0**24, 3, -3,
    ],
    np.float32,
)  # fmt: skip
COUNT = 100_003  # odd: no length of vectors divides it
DOUBLES = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2,
    "log10": np.log10, "log1p": np.log1p, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "tan": np.tan, "pow": np.power,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip
LARGEST = {"rsqrt": 1.51, "tan": 1.45, "sigmoid": 1.25, "expm1": 1.1, "tanh": 1.05, "log1p": 0.9}
"""Errors in ulp where the benchmark finds more than 0.81, rounded up."""


def random_inputs(name: str, seed: int = 0) -> list[np.ndarray]:
    """Return arrays of random bits, half of them replaced by ordinary numbers, and special ones."""
    rng = np.random.default_rng(seed)
    made = []
    for dtype in FUNCTIONS[name].inputs:
        bits = rng.integers(0, 1 << 32, COUNT, dtype=np.uint32)
        if dtype == "float32":
            x = bits.view(np.float32).copy()
            x[::2] = 10 * rng.normal(size=len(x[::2]))
            x[: len(SPECIAL)] = SPECIAL
            made.append(x)
        else:
            made.append((bits & 1).astype(bool) if dtype == "bool" else bits.astype(dtype))
    return made


def as_bits(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint32) if array.dtype == np.float32 else array


def in_core(name: str, *inputs: np.ndarray) -> np.ndarray:
    load()
    out = np.empty(inputs[0].shape, FUNCTIONS[name].output)
    tvm_ffi.get_global_func("microscopiq.runtime.apply_function")(name, *inputs, out)
    return out


def ulp_errors(got: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return errors in units of the last place; infinity counts as 2**128."""
    exponent = np.clip(np.frexp(truth)[1] - 1, -126, 127)
    got, truth = (np.clip(a.astype(np.float64), -(2.0**128), 2.0**128) for a in (got, truth))
    error = np.abs(got - truth) / 2.0 ** (exponent - 23)
    error = np.where(np.isnan(truth) != np.isnan(got), np.inf, error)
    return np.where(np.isnan(truth), 0, error)


@pytest.fixture(params=["portable", "avx2", "avx512"])
def variant(request):
    load()
    names = tvm_ffi.get_global_func("microscopiq.runtime.kernels")()
    if request.param not in list(names):
        pytest.skip("not on this CPU")
    select = tvm_ffi.get_global_func("microscopiq.runtime.select_kernels")
    select(request.param)
    yield request.param
    select(names[0])


def test_the_core_is_the_reference_in_every_bit(variant):
    for name in FUNCTIONS:
        inputs = random_inputs(name)
        expected, got = apply_function(name, *inputs), in_core(name, *inputs)
        assert expected.dtype == got.dtype, name
        wrong = np.flatnonzero(as_bits(expected) != as_bits(got))
        assert not wrong.size, (name, [x[wrong[0]] for x in inputs], got[wrong[0]])


def test_short_arrays_and_their_neighbours(variant):
    x = np.linspace(-3, 3, 40).astype(np.float32)
    for count in range(40):
        out = np.full(48, 7, np.float32)
        apply = tvm_ffi.get_global_func("microscopiq.runtime.apply_function")
        apply("exp", x[:count], out[:count])
        assert np.array_equal(out[:count], apply_function("exp", x)[:count])
        assert (out[count:] == 7).all()


@pytest.mark.parametrize("name", sorted(DOUBLES))
def test_no_result_is_further_from_the_truth_than_the_exhaustive_run_says(name):
    inputs = random_inputs(name, seed=1)
    if name == "pow":
        inputs = [np.abs(inputs[0]), np.clip(inputs[1], -20, 20)]
    with np.errstate(all="ignore"):
        truth = DOUBLES[name](*(x.astype(np.float64) for x in inputs))
    errors = ulp_errors(in_core(name, *inputs), truth)
    worst = int(errors.argmax())
    assert errors[worst] <= LARGEST.get(name, 0.81), [x[worst] for x in inputs]


def test_erf_against_scipy():
    special = pytest.importorskip("scipy.special")
    x = random_inputs("erf")[0]
    with np.errstate(invalid="ignore"):
        truth = special.erf(x.astype(np.float64))
    assert ulp_errors(in_core("erf", x), truth).max() <= 1.2


def test_special_values_of_pow_are_those_of_c():
    x, y = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        truth = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    got = in_core("pow", x, y)
    special = ~np.isfinite(truth) | (truth == 0)
    same = (got == truth) & (np.signbit(got) == np.signbit(truth)) | (
        np.isnan(got) & np.isnan(truth)
    )
    assert same[special].all()
    whole = np.arange(-12, 13, dtype=np.float32)
    x, y = (a.ravel() for a in np.meshgrid(whole, np.arange(0, 6, dtype=np.float32)))
    assert np.array_equal(in_core("pow", x, y), np.power(x.astype(np.float64), y))


@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "erf", "sin", "tan"])
def test_zeros_keep_their_sign(name):
    zeros = np.array([0.0, -0.0], np.float32)
    assert np.signbit(in_core(name, zeros)).tolist() == [False, True]


def test_casts_saturate():
    x = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, 127.9, -128.9, -0.9, 2147483520], np.float32)
    low, high = -(2**31), 2**31 - 1
    assert in_core("float32_to_int32", x).tolist() == [
        0, high, low, high, low, 127, -128, 0, 2147483520
    ]  # fmt: skip
    assert in_core("float32_to_int8", x).tolist() == [0, 127, -128, 127, -128, 127, -128, 0, 127]
    assert in_core("float32_to_bool", x[:1]).tolist() == [True]


def test_nan_of_min_and_max_is_the_second_operand():
    nan, one = np.array([np.nan, 1], np.float32), np.array([1, np.nan], np.float32)
    for name in ("min", "max"):
        assert np.isnan(in_core(name, nan, one)).tolist() == [False, True]


def test_the_header_is_generated():
    assert (ROOT / HEADER).read_text(encoding="utf-8") == header()


@pytest.mark.parametrize("name", ["exp", "sin"])
def test_the_coefficients_are_found_again(name):
    coefficients, error = solve(FITS[name])
    assert coefficients == COEFFICIENTS[name]
    assert error < 2.0**-31


def test_messages():
    x = np.zeros(4, np.float32)
    apply = tvm_ffi.get_global_func("microscopiq.runtime.apply_function")
    with pytest.raises(InputError, match="no function of the vector unit is called 'sinh'"):
        apply("sinh", x, x)
    with pytest.raises(InputError, match="'pow' takes 2 inputs and an output; given 2 tensors"):
        apply("pow", x, x)
    with pytest.raises(InputError, match=r"tensor 1: expected contiguous float32\[4\].*int32\[4\]"):
        apply("exp", x, np.zeros(4, np.int32))
    with pytest.raises(InputError, match=r"tensor 1: expected contiguous float32\[4\].*\[3\]"):
        apply("exp", x, x[:3])
