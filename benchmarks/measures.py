"""What quantized weights cost a real model: one measure per model, and how it is taken.

Recipes are calibrated on inputs that the measure doesn't see. Where weights alone are quantized the
Relax module runs on LLVM with its products on BLAS, else on the simulator. Measures: perplexity of
BabyLlama and stories260K on `selfgen.json` (calibrated on sequences sampled here), share of
ResNet-20's classes and of Silero's decisions that stay those of fp32, mean squared distance of the
DDPM's noise from fp32's, accuracy of all-MiniLM-L6-v2 on Banking77 and of the demo's vision
transformer on its held-out digits.
"""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tvm

import microscopiq as mq
from benchmarks.models import MODELS, RealModel, banking77, ddpm, llama2c, minilm, resnet20, silero
from benchmarks.models.speech import speech
from microscopiq.compiler.demo.digits import held_out, train_split
from microscopiq.compiler.demo.run import BATCH as DIGITS_OF_A_CALL
from microscopiq.compiler.demo.run import FOLDER
from microscopiq.compiler.quant.recipe import Recipe
from microscopiq.compiler.study.compare import mean_bits, on_blas, quantized_layers, running
from microscopiq.target.arch import DEFAULT_ARCH, Arch

LENGTHS = (32, 64, 128)
BATCH, SEQUENCE, IMAGES, CHUNKS = 16, 256, 200, 125
CLASSIFIED = 1600
"""Images whose classes are compared: of 200, two methods would differ by chance."""
SEEN = 8
"""Calls that calibrate the vision transformer."""
DIGITS = 4
"""Batches that calibrate the DDPM: 784 rows an image, 24 and more for each input of a layer."""
SOUNDS = (2, 3, 4)
"""Seeds of the sounds that Silero decides on: 12,000 chunks."""
Run = Callable[..., list[np.ndarray]]
Build = Callable[[torch.nn.Module | Path, tuple[torch.Tensor, ...], list], Run]
"""Compiles a model for example inputs, calibrated on samples; returns how to run it."""


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
def imported(module: torch.nn.Module | Path, example: tuple[torch.Tensor, ...]) -> tvm.IRModule:
    """Return the Relax module of a model; tracing it takes longer than quantizing it."""
    return mq.load_model(module, example or None)


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
    logits = lambda ids: torch.from_numpy(run(ids.numpy())[0])  # noqa: E731
    return llama2c.perplexity(logits, sequences, length)


def agreement(build: Build) -> float:
    """Return the share of images that ResNet-20 puts into the class that fp32 gives them."""
    real = loaded("resnet20", batch=BATCH)
    samples = [tuple(t.numpy() for t in batch) for batch in real.batches(16)]
    run = build(real.module, real.example_inputs, samples)
    same = 0
    images = resnet20.smooth_images(CLASSIFIED, seed=2)
    for part in images.split(BATCH):
        with torch.no_grad():
            wanted = real.module(part).argmax(dim=1).numpy()
        same += int((run(part.numpy())[0].argmax(axis=1) == wanted).sum())
    return same / len(images)


def noise_distance(build: Build) -> float:
    """Return the mean squared distance of the predicted noise from that of fp32."""
    real = loaded("ddpm", batch=BATCH)
    samples = [tuple(t.numpy() for t in batch) for batch in real.batches(DIGITS)]
    run = build(real.module, real.example_inputs, samples)
    x, t, _ = ddpm.noisy_digits(IMAGES - IMAGES % BATCH, seed=2)
    total = 0.0
    for images, steps in zip(x.split(BATCH), t.split(BATCH), strict=True):
        with torch.no_grad():
            wanted = real.module(images, steps).numpy()
        total += float(np.square(run(images.numpy(), steps.numpy())[0] - wanted).sum())
    return total / x.numel()


def frame_agreement(build: Build) -> float:
    """Return the share of chunks that Silero decides as fp32 does: speech or not.

    Both go through the sounds with states of their own, so that errors add up over time.
    """
    real = loaded("silero", batch=BATCH)
    samples = [tuple(t.numpy() for t in batch) for batch in real.batches(CHUNKS)]
    run = build(real.module, real.example_inputs, samples)
    same = []
    for seed in SOUNDS:
        state = [part.numpy() for part in silero.start(BATCH)]
        wanted = silero.decisions(seed, BATCH)
        for x, decision in zip(silero.chunks(speech(BATCH, seed)), wanted, strict=True):
            found, *state = run(x.numpy(), *state)
            same.append((found >= silero.THRESHOLD) == decision.numpy())
    return float(np.mean(same))


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
        return np.asarray(minilm.embed(runs[ids.shape[1]](ids, mask)[0], mask))

    return banking77.accuracy(banking77.bucketed_encoder(tokenize, run, BATCH, LENGTHS))


def digits_accuracy(build: Build) -> float:
    """Return the accuracy of the demo's vision transformer on digits that no training has seen."""
    seen = train_split()[0][: SEEN * DIGITS_OF_A_CALL]
    images, labels = held_out()
    run = build(FOLDER / "digits_vit.onnx", (), [(part,) for part in np.split(seen, SEEN)])
    parts = np.split(images, len(images) // DIGITS_OF_A_CALL)
    found = np.concatenate([run(part)[0].argmax(axis=1) for part in parts])
    return float((found == labels).mean())


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
    "silero": Measure("frame agreement", 1, frame_agreement),
    "minilm": Measure("accuracy", 1, banking77_accuracy),
}


DEMO = {"vit": Measure("accuracy", 1, digits_accuracy)}
"""Of the model that comes with the package, too small to compare methods on."""


def measure(
    name: str,
    recipe: Recipe | None,
    cache_dir: Path | None = None,
    arch: Arch | str = DEFAULT_ARCH,
) -> dict:
    """Return the row of a model and a recipe; None is fp32.

    Its cycles are those of the last call, None where the host computes.

    Parameters
    ----------
    cache_dir : Path, optional
        Where recipes find statistics that others gathered, as far as they have the same quantized
        layers before: gathering takes longer than quantizing.
    """
    records: list[dict] = []
    seconds, cycles = 0.0, None
    with ExitStack() as opened:

        def build(module, example: tuple[torch.Tensor, ...], samples: list) -> Run:
            nonlocal seconds
            mod = imported(module, example)
            if recipe is None:
                run = opened.enter_context(on_blas(mod))
                return lambda *arrays: run(tuple(map(np.ascontiguousarray, arrays)))
            start = time.process_time()
            calibration = mq.Calibration(samples, cache_dir=cache_dir)
            mod = mq.quantize(mod, recipe=recipe, calibration=calibration)
            seconds += time.process_time() - start
            records.extend(quantized_layers(mod))
            runs = opened.enter_context(running(mod, arch))

            def call(*arrays):
                nonlocal cycles
                result = runs(tuple(map(np.ascontiguousarray, arrays)))
                cycles = result.cycles
                return result.outputs

            return call

        quality = (MEASURES | DEMO)[name].run(build)
    errors = [record.held_out_error for record in records]
    return {
        "model": name,
        "recipe": "fp32" if recipe is None else recipe.name,
        "measure": (MEASURES | DEMO)[name].name,
        "quality": quality,
        "bits": mean_bits(records) if recipe else 32.0,
        "held_out_error": float(np.median(errors)) if errors else 0.0,
        "cpu_s": seconds,
        "cycles": cycles,
    }
