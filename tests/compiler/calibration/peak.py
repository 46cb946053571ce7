"""Prints calibrations' peak memory: ``python -m tests.compiler.calibration.peak BYTES LAYERS ...``.

A model has LAYERS linear layers of 2048 inputs, each of which reads rows of its own. Of several
numbers, models come one after another: a later one's peak is at least an earlier one's. BYTES is
the budget of statistics.
"""

import json
import resource
import sys

import numpy as np
import torch

import microscopiq as mq
from microscopiq.compiler.quant.statistics import MOST_HELD_OUT

INPUTS, OUTPUTS, ROWS, SAMPLES = 2048, 32, 64, 4
STATISTICS = 4 * INPUTS * (INPUTS + MOST_HELD_OUT)
"""Bytes of one layer's second moments and held-out rows."""


class Wide(torch.nn.Module):
    """Linear layers side by side."""

    def __init__(self, layers: int):
        super().__init__()
        torch.manual_seed(1)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(INPUTS, OUTPUTS) for _ in range(layers))

    def forward(self, x):
        parts = (layer(torch.tanh(x * (i + 1))) for i, layer in enumerate(self.layers))
        return sum(parts)


def peak(layers: int, budget: int) -> dict:
    """Calibrate so many layers; return this process's peak memory so far."""
    with torch.no_grad():
        program = torch.export.export(Wide(layers).eval(), (torch.zeros(ROWS, INPUTS),))
    rng = np.random.default_rng(2)
    samples = (rng.standard_normal((ROWS, INPUTS), np.float32) for _ in range(SAMPLES))
    seen = set()
    calibration = mq.Calibration(samples, hessian_bytes=budget)
    mq.quantize(program, "int8", calibration, progress=lambda *step: seen.add((step[0], step[3])))
    bytes_now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    groups = sum(stage == "calibrate" for stage, _ in seen)
    return {"layers": layers, "groups": groups, "peak_bytes": bytes_now}


if __name__ == "__main__":
    budget, *several = map(int, sys.argv[1:])
    print(json.dumps([peak(layers, budget) for layers in several]))
