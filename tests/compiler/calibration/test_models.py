"""compiler/calibration: whole models, and how much memory they take."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import microscopiq as mq
from benchmarks.models import MODELS, MissingData
from microscopiq.compiler.demo.run import FOLDER
from microscopiq.compiler.passes.records import read_records
from tests.compiler.calibration import peak as calibration_peak
from tests.compiler.calibration.calibrated import (
    assert_held_out,
    assert_near,
    exported,
    gathered,
    moment,
    seen_by_torch,
)

ROOT = Path(__file__).parents[3]


def test_onnx_model_and_its_records():
    path = FOLDER / "digits_cnn.onnx"
    rng = np.random.default_rng(6)
    x = rng.random((180, 1, 8, 8), np.float32)
    layers = gathered(path, x)
    name = next(iter(layers))
    kernel = next(
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
        if tensor.name.removesuffix(".weight") == name
    )
    out, channels, *size = kernel.shape
    first = nn.Conv2d(channels, out, tuple(size), padding=size[0] // 2, bias=False)
    first.weight.data = torch.from_numpy(kernel.copy())
    (rows,) = seen_by_torch(nn.Sequential(first), [(x[:120],)])["0"]
    assert_near(layers[name][1][0].hessian, moment(rows[0]))
    (rows,) = seen_by_torch(nn.Sequential(first), [(x[120:],)])["0"]
    assert_held_out(layers[name][1][0], rows[0])
    quantized = mq.quantize(path, "microscopiq-w4a8", calibration=x)
    records = [r for r in read_records(quantized).layers.values() if r.weights]
    assert all(0 < record.held_out_error < 0.1 for record in records)
    known = records[0].weights.calibration
    assert known.calibration_rows == 2 * known.held_out_rows == 120 * 64
    plain = read_records(mq.quantize(path, "microscopiq-w4a8")).layers.values()
    assert not any(record.weights and record.weights.calibration for record in plain)


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_number_of_layers():
    """Eight layers' statistics take 168 MB; eight peak at most 24 MB above two."""
    command = (sys.executable, "-m", "tests.compiler.calibration.peak")
    arguments = (str(calibration_peak.STATISTICS), "2", "8")
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    two, eight = json.loads(done.stdout.splitlines()[-1])
    assert (two["groups"], eight["groups"]) == (2, 8)
    # A fifth of what six more layers would hold, were it kept.
    assert eight["peak_bytes"] - two["peak_bytes"] < 24e6 < 6 * calibration_peak.STATISTICS / 5


@pytest.mark.slow
def test_minilm_against_torch():
    pytest.importorskip("transformers", reason="package transformers is missing")
    try:
        real = MODELS["minilm"](batch=1, length=32)
        calls = [tuple(x.numpy() for x in batch) for batch in real.batches(3)]
    except MissingData as missing:
        pytest.skip(str(missing))
    found = gathered(exported(real.module, *calls[0]), calls)
    seen = seen_by_torch(real.module, calls)
    assert len(found) == 36
    assert len({id(statistics[0]) for _, statistics in found.values()}) == 24
    for name, (_, (one,)) in found.items():
        rows = seen[name]
        assert_near(one.hessian, moment(np.concatenate([rows[0][0], rows[1][0]])))
        assert_held_out(one, rows[2][0])
