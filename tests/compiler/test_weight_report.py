"""compiler/weight_report.py: bits, outliers and what was lost, against the packed bytes."""

import dataclasses
import json

import numpy as np
import pytest

import microscopiq as mq
from microscopiq.compiler.passes.records import read_records
from microscopiq.compiler.quant.recipe import Override, load_recipe
from microscopiq.compiler.weight_report import paper_bits
from microscopiq.target.packing import unpack
from tests.compiler import relax_modules as make


def test_the_papers_bits():
    """2.36 and 4.15 are the paper's; they are those of 9.0 % and 3.75 % flagged (A1)."""
    assert paper_bits(2, 0.09) == pytest.approx(2.36)
    assert paper_bits(4, 0.0375) == pytest.approx(4.15)
    assert (paper_bits(2, 0), paper_bits(2, 1), paper_bits(4, 1)) == (2, 6, 8)


def heavy(emit, x):
    """Layers whose weights have outliers, and a last one for another format."""
    for number, n in enumerate((40, 24)):
        k = int(x.ty.shape.values[-1])
        weight = np.random.default_rng(number).standard_t(3, (k, n)).astype(np.float32)
        x = emit(make.op.matmul(x, make.relax.const(weight)))
    return make.linear(emit, x, 6)


@pytest.fixture(scope="module")
def quantized():
    mod = make.module(heavy, (5, 30))
    recipe = dataclasses.replace(
        load_recipe("microscopiq-w2a8"), overrides=(Override("*2", "rtn", "uint4-g32"),)
    )
    (x,) = make.inputs_of(mod)
    return mq.quantize(mod, recipe, calibration=[x, x + 1])


def test_rows_say_what_the_bytes_do(quantized):
    report = mq.weight_report(quantized)
    state = make.compiled(quantized, None, "microscopiq-16x16", graph=False)
    functions = state.program.functions
    names = read_records(quantized).layers
    array = [row for row in report["layers"] if row["runs_on"] == "array"]
    outliers = flagged = blocks = 0
    for row in array:
        (symbol,) = [key for key, record in names.items() if record.layer == row["layer"]]
        record, segment = names[symbol], functions[symbol].weights
        (weight,) = unpack(segment, row["weight_format"], record.work.n, record.work.k)
        mask = weight.relative_exponent >= 0
        assert row["flagged_share"] == mask.mean() > 0
        kept = (weight.pairs[..., 0] >= 0).sum()
        assert row["outlier_share"] == kept / row["weights"]
        assert row["bits_per_weight"] == pytest.approx(8 * len(segment) / row["weights"], abs=1e-4)
        assert row["paper_bits_per_weight"] == pytest.approx(2 + 4 * mask.mean())
        assert 0 < row["held_out_error"] < 1 and row["overflow"] >= 0 and row["saturated"] > 0
        outliers, flagged, blocks = outliers + kept, flagged + mask.sum(), blocks + mask.size
    total = report["total"]
    assert total["weights"] == 30 * 40 + 40 * 24 + 24 * 6
    of_array = sum(row["weights"] for row in array)
    assert total["outlier_share"] == pytest.approx(outliers / of_array)
    assert total["flagged_share"] == pytest.approx(flagged / blocks)
    bits = sum(row["weights"] * row["bits_per_weight"] for row in report["layers"])
    assert total["bits_per_weight"] == pytest.approx(bits / total["weights"])


def test_what_a_format_does_not_have_is_none(quantized):
    (row,) = [row for row in mq.weight_report(quantized)["layers"] if row["runs_on"] == "host"]
    assert row["weight_format"] == "uint4-g32"
    assert row["bits_per_weight"] == pytest.approx(4 + 32 / 24, abs=1e-4)
    for key in ("paper_bits_per_weight", "outlier_share", "flagged_share"):
        assert row[key] is None
    json.dumps(row, allow_nan=False)


def test_a_model_that_is_not_quantized_has_no_rows():
    report = mq.weight_report(make.module(heavy, (5, 30)))
    assert report["layers"] == [] and report["total"]["bits_per_weight"] is None
