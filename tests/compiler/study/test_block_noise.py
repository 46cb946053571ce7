"""compiler/study/block_noise.py: the formulas against rounding that is done here."""

import ml_dtypes
import numpy as np
import pytest

from microscopiq.compiler.study.block_noise import FORMULAS, crest_factors, expected_db
from microscopiq.target.formats import WEIGHT_FORMATS

FLOATS = {"mxfp4": ml_dtypes.float4_e2m1fn, "mxfp6": ml_dtypes.float6_e2m3fn,
          "nvfp4": ml_dtypes.float4_e2m1fn, "fp4-e2m1": ml_dtypes.float4_e2m1fn}  # fmt: skip
LARGEST = {"mxfp4": 6.0, "mxfp6": 7.5, "nvfp4": 6.0, "fp4-e2m1": 6.0}
INTEGERS = ["mxint4", "mxint6", "mxint8", "nvint4", "int3", "int4-g32", "int8"]


def weights(heavy: bool) -> np.ndarray:
    rng = np.random.default_rng(3)
    found = rng.standard_normal((64, 512))
    if heavy:
        found[rng.random(found.shape) < 0.01] *= 8
    return found.astype(np.float32)


def rounded_db(matrix: np.ndarray, name: str) -> float:
    """Return the ratio of blocks whose scale is what fits, or the power of two above."""
    row = WEIGHT_FORMATS[name]
    blocks = matrix.astype(np.float64).reshape(-1, row.group)
    largest = LARGEST.get(name, 2.0 ** (row.bits - 1) - 1)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / largest
    if name.startswith("mx"):
        scale = 2.0 ** np.ceil(np.log2(scale))
    kind = FLOATS.get(name)
    codes = blocks / scale
    codes = np.rint(codes) if kind is None else codes.astype(kind).astype(np.float64)
    return 10 * np.log10(np.square(blocks).sum() / np.square(codes * scale - blocks).sum())


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("name", [*INTEGERS, *FLOATS])
def test_formulas_expect_what_rounding_loses(name, heavy):
    matrix = weights(heavy)
    # Errors of few long steps aren't even.
    most = 1.8 if name == "int3" else 0.5
    assert abs(expected_db(matrix, WEIGHT_FORMATS[name]) - rounded_db(matrix, name)) < most


def test_which_formats_have_formulas():
    assert set(INTEGERS) | set(FLOATS) <= set(FORMULAS)
    assert not {"ms4", "fineq", "olive4", "nf4", "apot4"} & set(FORMULAS)
    assert expected_db(weights(False), WEIGHT_FORMATS["nf4"]) is None


def test_crest_factors():
    matrix = np.array([[1, -1, 3, 4, 0], [0, 0, 0, 0, 2]], np.float32)
    expected = [1.0, 4 / np.sqrt(12.5), 1.0]
    np.testing.assert_allclose(crest_factors(matrix, 2), expected)
