"""`microscopiq estimate`: costs of operators and decoder layers that nobody has weights of."""

import json

import pytest


def test_estimate(shell):
    products = ("--gemm", "ffn=128x256x384x3", "--gemm", "20x300x130")
    result = shell("estimate", *products, "--format", "ms2", "--json")
    assert (result.code, result.err) == (0, "")
    record = json.loads(result.out)
    names = ["ffn.quantize"] * 3 + ["ffn"] * 3 + ["gemm1.quantize", "gemm1"]
    assert [call["layer"] for call in record["calls"]] == names
    assert record["macs"] == 3 * 128 * 256 * 384 + 20 * 300 * 130
    assert record["cycles"] == sum(call["cycles"] for call in record["calls"])
    # Fewer rows visit ReCoN, and none of a format without outliers.
    fewer = shell("estimate", *products, "--format", "ms2", "--flagged-share", "0.01", "--json")
    assert json.loads(fewer.out)["cycles"] < record["cycles"]
    table = shell("estimate", *products).out.splitlines()
    (row,) = (line.split() for line in table if line.split()[:1] == ["ffn"])
    assert row[:4] == ["ffn", "128x256x384", "ms4", "3"]
    assert max(map(len, table)) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "estimate needs operators: --preset NAME or --gemm MxNxK"),
        (("--gemm", "12x34"), "product '12x34'; allowed: [NAME=]MxNxK[xCOUNT]"),
        (("--gemm", "2x2x2", "--tokens", "9"), "--tokens 9 is of a preset"),
        (("--preset", "llama2-7b-layr"), "did you mean llama2-7b-layer or"),
        (("--preset", "llama2-7b-layer", "--tokens", "0"), "tokens = 0; allowed: at least 1"),
        (("--gemm", "2x2x2", "--format", "ms8"), "unknown weight format 'ms8'"),
        (("--gemm", "2x2x2", "--flagged-share", "2"), "flagged share 2.0; allowed: 0 to 1"),
        (
            ("--gemm", "2x2x2", "--arch", "int8-64x64", "--format", "ms4"),
            "int8-64x64 can't decode weight format",
        ),
    ],
)
def test_estimate_refuses(shell, arguments, message):
    result = shell("estimate", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
