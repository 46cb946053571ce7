"""Train the demo's two digit classifiers, export them to ONNX and check the files.

Run it again only to change the models: the .onnx files it wrote are in compiler/demo.
Needs the extras ``demo``, ``torch`` and ``test``: ``python -m benchmarks.demo.train``.
"""

import argparse
import collections
import math
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import tvm
from torch import nn
from torch.nn import functional
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from benchmarks.demo.models import DigitsCNN, DigitsViT
from microscopiq.compiler.demo import digits
from microscopiq.compiler.demo.run import FOLDER

# 360 held-out images are six of these; the exported models take no other batch size.
EXPORT_BATCH = 60
# The first opset with Gelu as one operator.
OPSET = 20
MAX_BYTES = 1_000_000
TOLERANCE = 1e-4
# The class, the number of epochs and the peak learning rate of each model.
MODELS: dict[str, tuple[type[nn.Module], int, float]] = {
    "digits_vit": (DigitsViT, 120, 2e-3),
    "digits_cnn": (DigitsCNN, 80, 5e-3),
}


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the images turned, scaled, shifted and with noise, each in its own way.

    Parameters
    ----------
    images : torch.Tensor
        float32, shape (n, 1, 8, 8), from 0 to 1.
    generator : torch.Generator
        Where all the randomness comes from.

    Returns
    -------
    torch.Tensor
        The same shape and range.
    """
    count = len(images)

    def spread(limit: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle = spread(math.radians(12))
    scale = 1 + spread(0.1)
    # affine_grid's units: 0.25 is one of eight pixels.
    rows = (
        torch.stack([scale * angle.cos(), -scale * angle.sin(), spread(0.25)], dim=1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), spread(0.25)], dim=1),
    )
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    noise = torch.randn(images.shape, generator=generator) * 0.03
    return (moved + noise).clamp(0, 1)


def train(model: nn.Module, epochs: int, peak_rate: float, batch: int = 96) -> None:
    """Train a model in place for a fixed number of epochs, then leave it in eval mode.

    There is no early stopping: picking an epoch by the held-out images would spoil them.
    """
    images, labels = (torch.from_numpy(array) for array in digits.train_split())
    generator = torch.Generator().manual_seed(1)
    steps = math.ceil(len(images) / batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak_rate, total_steps=epochs * steps, pct_start=0.15
    )
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for chosen in order.split(batch):
            logits = model(augment(images[chosen], generator))
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        if (epoch + 1) % 25 == 0:
            print(f"  epoch {epoch + 1:3d}  loss {total / steps:.4f}", flush=True)
    model.eval()


def export(model: nn.Module, path: Path) -> None:
    """Write a trained model as one self-contained file with a fixed batch size."""
    example = torch.zeros(EXPORT_BATCH, 1, 8, 8)
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None  # None is the answer of the old exporter, dynamo=False.
    proto = program.model_proto
    strip(proto)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    if path.stat().st_size >= MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")


def strip(proto: onnx.ModelProto) -> None:
    """Drop the exporter's notes: Python stack traces with this machine's paths in them."""
    graph = proto.graph
    for item in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")


def check(model: nn.Module, path: Path) -> None:
    """Run a written file over the held-out images and compare torch, ONNX Runtime and TVM."""
    images, labels = digits.held_out()
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    proto = onnx.load(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    executable = tvm.compile(from_onnx(proto), target="llvm")
    machine = relax.VirtualMachine(executable, tvm.cpu())
    runners = {
        "onnxruntime": lambda batch: session.run(["logits"], {"image": batch})[0],
        "tvm": lambda batch: machine["main"](tvm.runtime.tensor(batch)).numpy(),
    }
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{path.name}: {path.stat().st_size} bytes, {parameters} parameters")
    print(f"  operators {dict(collections.Counter(node.op_type for node in proto.graph.node))}")
    print(f"  {'torch':12s} accuracy {accuracy(expected, labels):.4f}")
    for name, run in runners.items():
        batches = np.split(images, len(images) // EXPORT_BATCH)
        logits = np.concatenate([run(batch) for batch in batches])
        error = float(np.abs(logits - expected).max())
        print(f"  {name:12s} accuracy {accuracy(logits, labels):.4f}  max |error| {error:.1e}")
        if not error <= TOLERANCE:
            raise SystemExit(f"{name} and torch differ by {error} on {path}")


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose largest logit is the right one."""
    return float((logits.argmax(axis=1) == labels).mean())


def main() -> None:
    """Train, export and check the models asked for."""
    parser = argparse.ArgumentParser(description="Train, export and check the demo models.")
    parser.add_argument("--epochs", type=int, help="instead of each model's own number")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--only", choices=sorted(MODELS), help="one model instead of both")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    # One thread: sums in another order would give other weights.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, (build, epochs, peak_rate) in MODELS.items():
        if options.only not in (None, name):
            continue
        torch.manual_seed(0)
        model = build()
        start = time.perf_counter()
        train(model, options.epochs or epochs, peak_rate)
        print(f"{name}: trained in {time.perf_counter() - start:.0f} s")
        export(model, options.out / f"{name}.onnx")
        check(model, options.out / f"{name}.onnx")


if __name__ == "__main__":
    main()
