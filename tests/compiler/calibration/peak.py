"""Prints a calibration's peak memory: ``python -m tests.compiler.calibration_peak LAYERS BYTES``.

The model has LAYERS linear layers of 2048 inputs, each of which reads rows of its own. BYTES is the
budget of statistics.
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


def main(layers: int, budget: int) -> None:
    with torch.no_grad():
        program = torch.export.export(Wide(layers).eval(), (torch.zeros(ROWS, INPUTS),))
    rng = np.random.default_rng(2)
    samples = (rng.standard_normal((ROWS, INPUTS), np.float32) for _ in range(SAMPLES))
    seen = set()
    calibration = mq.Calibration(samples, hessian_bytes=budget)
    mq.quantize(program, "int8", calibration, progress=lambda *step: seen.add((step[0], step[3])))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    groups = sum(stage == "calibrate" for stage, _ in seen)
    print(json.dumps({"layers": layers, "groups": groups, "peak_bytes": peak}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
