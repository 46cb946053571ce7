"""target/diagonal.py: a block-diagonal weight means its blocks, and nothing between them."""

import numpy as np
import pytest

from microscopiq.compiler.quant import methods  # noqa: F401
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.target.diagonal import block_diagonal
from microscopiq.target.packing import pack, unpack
from microscopiq.target.weight import dequantize

METHOD = {"int4": "rtn", "int8": "rtn", "ms2": "microscopiq", "ms4": "microscopiq"}


def quantized(format_name: str, count: int, out: int, inputs: int, seed: int = 0) -> list:
    """Return weights with outliers, each of another magnitude."""
    rng = np.random.default_rng([seed, count, out, inputs])
    real = rng.standard_normal((count, out, inputs)) * np.exp2(rng.integers(-2, 3, (count, 1, 1)))
    real[:, ::5, ::4] *= 9
    method = METHOD.get(format_name, format_name)
    return [quantize_weight(method, w.astype(np.float32), format_name, "t")[0] for w in real]


@pytest.mark.parametrize("format_name", METHOD)
@pytest.mark.parametrize(("count", "out", "inputs"), [(7, 1, 9), (3, 8, 27), (4, 16, 16)])
def test_blocks_keep_their_values_through_packing(format_name, count, out, inputs):
    weights = quantized(format_name, count, out, inputs)
    whole = block_diagonal(weights)
    (again,) = unpack(pack([whole]), format_name, count * out, count * inputs)
    values = dequantize(again).reshape(count, out, count, inputs)
    for row in range(count):
        for column in range(count):
            block = values[row, :, column]
            wanted = dequantize(weights[row]) if row == column else np.zeros_like(block)
            np.testing.assert_array_equal(block, wanted)
    # Of 8 columns none is as far as 3 sigma from the others.
    if format_name.startswith("ms") and out == 16:
        assert (again.relative_exponent >= 0).sum() == sum(
            (weight.relative_exponent >= 0).sum() for weight in weights
        )
        assert (again.relative_exponent >= 0).any()


@pytest.mark.parametrize(
    ("format_name", "count", "out", "inputs"),
    [("int8", 3, 43, 4), ("int8", 3, 4, 43), ("fineq", 2, 3, 24), ("ms4", 2, 12, 40)],
    ids=["macro-block", "group", "clusters", "outliers within a micro-block"],
)
def test_what_would_share_a_scale_or_a_payload_stays_apart(format_name, count, out, inputs):
    assert block_diagonal(quantized(format_name, count, out, inputs)) is None
