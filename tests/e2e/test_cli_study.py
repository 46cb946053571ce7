"""`microscopiq study`: recipes, and the steps of one, side by side on a model."""

import csv
import json

import numpy as np
import pytest
import torch

from microscopiq.compiler.study.ablation import ablation_recipes, steps
from microscopiq.compiler.study.compare import compare
from microscopiq.target.errors import InputError

INPUTS = 64


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a model and samples of few directions: errors can be made good."""
    folder = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    ).eval()
    with torch.no_grad():
        weight = model[0].weight
        weight[torch.rand(weight.shape) < 0.005] *= 20
    rng = np.random.default_rng(0)
    x = rng.standard_normal((320, 8)) @ rng.standard_normal((8, INPUTS))
    x = (x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32)
    example = (torch.from_numpy(x[:8]),)
    program = torch.onnx.export(model, example, dynamo=True, verbose=False, input_names=["x"])
    program.save(folder / "model.onnx")
    np.savez(folder / "x.npz", x=x)
    return folder / "model.onnx", folder / "x.npz"


def test_compare(shell, files, tmp_path):
    model, samples = files
    table = tmp_path / "rows.csv"
    result = shell(
        "study", "compare", model, "--calibration", samples, "--csv", table, "--json",
        "--recipes", "rtn-w4a16, gptq-w4a16,microscopiq-w4a8,microscopiq-w2a8",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    rows = {row["recipe"]: row for row in json.loads(result.out)}
    assert list(rows) == ["rtn-w4a16", "gptq-w4a16", "microscopiq-w4a8", "microscopiq-w2a8"]
    assert rows["gptq-w4a16"]["relative_error"] < 0.5 * rows["rtn-w4a16"]["relative_error"]
    assert rows["rtn-w4a16"]["cycles"] is None and rows["microscopiq-w4a8"]["cycles"] > 0
    assert rows["microscopiq-w4a8"]["relative_error"] < rows["microscopiq-w2a8"]["relative_error"]
    assert all(0 < row["agreement"] <= 1 for row in rows.values())
    with table.open() as file:
        assert [row["recipe"] for row in csv.DictReader(file)] == list(rows)


def test_ablation(shell, files, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'microscopiq[plot]'")
    model, samples = files
    plot = tmp_path / "steps.svg"
    result = shell("study", "ablation", model, "--calibration", samples, "--plot", plot)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    places = [next(i for i, line in enumerate(lines) if step.name in line) for step in steps()]
    assert places == sorted(places)
    assert max(map(len, lines)) <= 110
    assert result.out.endswith(f"Wrote {plot}\n")
    assert plot.read_bytes().startswith(b"<?xml")


def test_each_idea_of_the_paper_moves_the_error_as_it_says(files):
    model, samples = files
    with np.load(samples) as arrays:
        rows = compare(model, ablation_recipes(), [arrays["x"]], "microscopiq-64x64")
    errors = dict(
        zip((step.name for step in steps()), (r.relative_error for r in rows), strict=True)
    )
    two_bits = errors["MX-INT-2"]
    assert errors["MX-INT-4"] < two_bits
    assert errors["+ exponent per 8, reduced"] <= errors["+ outliers, exponent per 128"] < two_bits
    assert errors["+ compensation"] < 0.5 * errors["+ pruned slots"]
    bits = [row.bits_per_weight for row in rows]
    assert bits[4] < bits[5] < 3


def test_a_study_needs_samples_to_compare_on(files):
    model, _ = files
    with pytest.raises(InputError, match="a study needs two samples at least"):
        compare(model, ["int8"], [np.zeros((8, INPUTS), np.float32)], "microscopiq-64x64")


def test_refusals(shell, files, tmp_path):
    model, samples = files
    wrong = shell("study", "compare", model, "--calibration", samples, "--recipes", "int5")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("error: unknown recipe 'int5'; did you mean int")
    wrong = shell("study", "ablation", model, "--calibration", samples, "--bits", 3)
    assert (wrong.code, wrong.out, wrong.err) == (2, "", "error: bits = 3; allowed: 2, 4\n")
    wrong = shell("study", "ablation", model, "--calibration", samples, "--plot", tmp_path / "p.x")
    assert (wrong.code, wrong.out) == (2, "")
    assert "the name must end in" in wrong.err


def test_formats(shell, files, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'microscopiq[plot]'")
    model, samples = files
    plot, table = tmp_path / "front.svg", tmp_path / "rows.csv"
    asked = ("study", "formats", model, "--calibration", samples, "--csv", table)
    result = shell(*asked, "--formats", "int4, mxfp4,ms4,fineq,int8", "--plot", plot, "--json")
    assert (result.code, result.err) == (0, "")
    rows = {row["format"]: row for row in json.loads(result.out)}
    assert {name: row["arch"] for name, row in rows.items()} == {
        "int4": "int4-64x64",
        "mxfp4": "microscopiq-64x64-v2",
        "ms4": "microscopiq-64x64-v2",
        "fineq": "fineq-64x64",
        "int8": "olive-64x64",
    }
    assert rows["int4"]["area_mm2"] < rows["mxfp4"]["area_mm2"]
    for name, row in rows.items():
        assert row["cycles"] > 0 and row["energy_pj"] > 0, name
        beaten = [
            other
            for other in rows.values()
            if other["bits_per_weight"] <= row["bits_per_weight"]
            and other["relative_error"] < row["relative_error"]
        ]
        assert row["front"] == (not beaten), name
    assert abs(rows["int8"]["qsnr_db"] - rows["int8"]["formula_db"]) < 1
    assert rows["ms4"]["formula_db"] is None
    with table.open() as file:
        assert [row["format"] for row in csv.DictReader(file)] == list(rows)
    assert plot.read_bytes().startswith(b"<?xml")
    narrow = ("--formats", "olive4", "--compensate", "--activation", "mx-int4")
    again = shell(*asked, *narrow)
    assert (again.code, again.err) == (0, "")
    assert "olive4" in again.out and "olive-64x64" in again.out


def test_refusals_of_formats(shell, files):
    model, samples = files
    asked = ("study", "formats", model, "--calibration", samples, "--arch", "int4-64x64")
    wrong = shell(*asked, "--formats", "int5")
    assert wrong.code == 2 and wrong.err.startswith("error: unknown weight format 'int5'")
    wrong = shell(*asked, "--formats", "mxfp4")
    assert wrong.code == 2
    assert (
        "weight format 'mxfp4': none of int4-64x64 multiplies it by 'mx-int8'; allowed: int4, int2"
        in wrong.err
    )
    wrong = shell(*asked, "--activation", "mxuint4")
    assert wrong.code == 2 and "unknown activation format 'mxuint4'" in wrong.err
