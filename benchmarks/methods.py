"""Methods on real models: what weights of 4 and 2 bits cost in quality, bits and seconds.

python -m benchmarks.methods [--models babyllama ...] [--bits 4 2] [--json]

Weights alone are quantized (`activation = "fp32"`), calibrated on inputs that the measure doesn't
see; the quantized Relax module runs on LLVM with its products on BLAS. Measures: perplexity of
BabyLlama and stories260K on `selfgen.json` (calibrated on sequences sampled here), share of
ResNet-20's classes that stay those of fp32, mean squared distance of the DDPM's noise from fp32's,
accuracy of all-MiniLM-L6-v2 on Banking77. `gptq, published` has GPTQ's fixed damping of 1 %; the
asymmetric baselines come in groups of 128, 64 and 32 inputs, for as many bytes as MicroScopiQ.
"""

import argparse
import functools
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
import tvm
from rich.console import Console
from rich.progress import track
from rich.table import Table

import microscopiq as mq
from benchmarks.models import (
    MODELS,
    MissingData,
    RealModel,
    banking77,
    ddpm,
    llama2c,
    minilm,
    resnet20,
)
from microscopiq.compiler.passes.host_layers import host_layers
from microscopiq.compiler.quant.recipe import FP32, Recipe
from microscopiq.compiler.study.compare import on_blas

PUBLISHED = {"damping": 0.01, "refinements": 0, "upstream": False}
RULES = {"awq": "awq"}
"""Migration that belongs to a method."""
GROUPS = (128, 64, 32)
LENGTHS = (32, 64, 128)
BATCH, SEQUENCE, IMAGES = 16, 256, 200
Run = Callable[..., np.ndarray]
Build = Callable[[torch.nn.Module, tuple[torch.Tensor, ...], list], Run]
"""Compiles a model for example inputs, calibrated on samples; returns how to run it."""


def recipes(bits: int) -> dict[str, Recipe]:
    """Return the rows of a number of bits by their label."""
    rows = {"microscopiq": ("microscopiq", f"ms{bits}", {})}
    for group in GROUPS:
        name = f"uint{bits}-g{group}"
        rows[f"rtn {name}"] = ("rtn", name, {})
        rows[f"gptq, published {name}"] = ("gptq", name, PUBLISHED)
        rows[f"gptq {name}"] = ("gptq", name, {})
        rows[f"awq {name}"] = ("awq", name, {})
    return {
        label: Recipe(
            label, "", method, weight_format, FP32, options=options, migration=RULES.get(method)
        )
        for label, (method, weight_format, options) in rows.items()
    }


@functools.cache
def sampled(name: str, count: int, length: int) -> list[tuple[np.ndarray, ...]]:
    """Return sequences ``(1, length)`` that a language model writes itself, from token 1."""
    model = loaded(name).module
    generator = torch.Generator().manual_seed(0)
    ids = torch.ones((count, 1), dtype=torch.int64)
    with torch.no_grad():
        while ids.shape[1] < length:
            chances = torch.softmax(model(ids)[:, -1], dim=-1)
            ids = torch.cat([ids, torch.multinomial(chances, 1, generator=generator)], dim=1)
    return [(sequence[None].numpy(),) for sequence in ids]


@functools.cache
def loaded(name: str, **options: int) -> RealModel:
    """Return a model; the same one for the same options."""
    return MODELS[name](**options)


@functools.cache
def imported(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> tvm.IRModule:
    """Return the Relax module of a model; tracing it takes longer than quantizing it."""
    return mq.load_model(module, example)


@functools.cache
def ones(length: int) -> torch.Tensor:
    """Return token ids ``(1, length)`` to trace a language model with."""
    return torch.ones((1, length), dtype=torch.int64)


def perplexity(name: str, build: Build) -> float:
    """Return the perplexity of a llama on its own stored sequences."""
    real = loaded(name)
    sequences = llama2c.read_sequences(name)
    length = min(SEQUENCE, max(map(len, sequences)))
    run = build(real.module, (ones(length),), sampled(name, 32, length))
    logits = lambda ids: torch.from_numpy(run(ids.numpy()))  # noqa: E731
    return llama2c.perplexity(logits, sequences, length)


def agreement(build: Build) -> float:
    """Return the share of images that ResNet-20 puts into the class that fp32 gives them."""
    real = loaded("resnet20", batch=BATCH)
    samples = [tuple(t.numpy() for t in batch) for batch in real.batches(16)]
    run = build(real.module, real.example_inputs, samples)
    same = 0
    images = resnet20.smooth_images(IMAGES - IMAGES % BATCH, seed=2)
    for part in images.split(BATCH):
        with torch.no_grad():
            wanted = real.module(part).argmax(dim=1).numpy()
        same += int((run(part.numpy()).argmax(axis=1) == wanted).sum())
    return same / len(images)


def noise_distance(build: Build) -> float:
    """Return the mean squared distance of the predicted noise from that of fp32."""
    real = loaded("ddpm", batch=BATCH)
    samples = [tuple(t.numpy() for t in batch) for batch in real.batches(16)]
    run = build(real.module, real.example_inputs, samples)
    x, t, _ = ddpm.noisy_digits(IMAGES - IMAGES % BATCH, seed=2)
    total = 0.0
    for images, steps in zip(x.split(BATCH), t.split(BATCH), strict=True):
        with torch.no_grad():
            wanted = real.module(images, steps).numpy()
        total += float(np.square(run(images.numpy(), steps.numpy()) - wanted).sum())
    return total / x.numel()


def banking77_accuracy(build: Build) -> float:
    """Return the accuracy of the nearest labelled sentence; each length is a model of its own."""
    tokenize = minilm.tokenizer()
    runs = {}
    for length in LENGTHS:
        real = loaded("minilm", batch=BATCH, length=length)
        samples = minilm.calibration(length, BATCH)
        runs[length] = build(real.module, real.example_inputs, samples)

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        ids, mask = np.asarray(ids), np.asarray(mask)
        return np.asarray(minilm.embed(runs[ids.shape[1]](ids, mask), mask))

    return banking77.accuracy(banking77.bucketed_encoder(tokenize, run, BATCH, LENGTHS))


@dataclass(frozen=True)
class Measure:
    """What a model is judged by; `better` is 1 where more is better, else -1."""

    name: str
    better: int
    run: Callable[[Build], float]


MEASURES = {
    "babyllama": Measure("perplexity", -1, lambda build: perplexity("babyllama", build)),
    "stories260k": Measure("perplexity", -1, lambda build: perplexity("stories260k", build)),
    "resnet20": Measure("agreement", 1, agreement),
    "ddpm": Measure("distance from fp32", -1, noise_distance),
    "minilm": Measure("accuracy", 1, banking77_accuracy),
}


def measure(name: str, recipe: Recipe | None) -> dict:
    """Return the row of a model and a recipe; None is fp32."""
    records: list[dict] = []
    seconds = 0.0
    with ExitStack() as opened:

        def build(module: torch.nn.Module, example: tuple[torch.Tensor, ...], samples: list) -> Run:
            nonlocal seconds
            mod = imported(module, example)
            if recipe is not None:
                start = time.process_time()
                mod = mq.quantize(mod, recipe=recipe, calibration=samples)
                seconds += time.process_time() - start
                records.extend(host_layers(mod))
            run = opened.enter_context(on_blas(mod))
            return lambda *arrays: run(tuple(map(np.ascontiguousarray, arrays)))[0]

        quality = MEASURES[name].run(build)
    weights = sum(row["weights"] for row in records)
    bits = sum(row["weights"] * row["bits_per_weight"] for row in records)
    errors = [row["held_out_error"] for row in records]
    return {
        "model": name,
        "recipe": "fp32" if recipe is None else recipe.name,
        "measure": MEASURES[name].name,
        "quality": quality,
        "bits": bits / weights if weights else 32.0,
        "held_out_error": float(np.median(errors)) if errors else 0.0,
        "cpu_s": seconds,
    }


def judge(rows: list[dict]) -> list[str]:
    """Return where MicroScopiQ isn't better than a baseline of at least as many bits.

    Of each baseline the smallest groups count that it needs to have as many bits.
    """
    lost = []
    ours = next(row for row in rows if row["recipe"] == "microscopiq")
    better = MEASURES[ours["model"]].better
    for kind in ("rtn", "gptq, published", "gptq"):
        family = [row for row in rows if row["recipe"].rsplit(" ", 1)[0] == kind]
        enough = [row for row in family if row["bits"] >= ours["bits"]] or family[-1:]
        peer = min(enough, key=lambda row: row["bits"])
        if better * ours["quality"] <= better * peer["quality"]:
            lost.append(
                f"{ours['model']}: microscopiq {ours['quality']:.4g} at {ours['bits']:.3f} bits, "
                f"{peer['recipe']} {peer['quality']:.4g} at {peer['bits']:.3f}"
            )
    return lost


def main() -> int:
    """Measure and print; exit with 1 where a baseline wins at as many bits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MEASURES), choices=list(MEASURES))
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 2], choices=(2, 4))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    quiet = Console(stderr=True)
    rows, lost = [], []
    for name in args.models:
        try:
            rows.append(measure(name, None))
        except MissingData as missing:
            quiet.print(f"{name}: {missing}")
            continue
        for bits in args.bits:
            table = recipes(bits)
            found = [
                measure(name, recipe)
                for recipe in track(table.values(), f"{name}, {bits} bits", console=quiet)
            ]
            rows += found
            lost += judge(found)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(rows, lost)
    return 1 if lost else 0


def print_table(rows: list[dict], lost: list[str]) -> None:
    """Print a row per model and recipe, then where a baseline wins."""
    console = Console(width=110)
    table = Table(title="Weights alone: what methods cost on real models")
    for heading in ("model", "recipe", "measure"):
        table.add_column(heading)
    for heading in ("quality", "bits", "held-out error", "CPU s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["model"], row["recipe"], row["measure"], f"{row['quality']:.4g}",
            f"{row['bits']:.3f}", f"{row['held_out_error']:.4f}", f"{row['cpu_s']:.1f}",
        )  # fmt: skip
    console.print(table)
    for line in lost:
        console.print(f"not better: {line}")


if __name__ == "__main__":
    sys.exit(main())
