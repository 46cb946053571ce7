"""Inputs for public ONNX files: noise where anything will do, else what the files are for.

Detectors answer noise with nothing, a pitch of noise is none, and a graph whose edges all join two
nodes is no molecule: a few such inputs say little of a quantized model, or of ONNX Runtime's.
"""

from collections.abc import Mapping

import numpy as np
import tvm

from microscopiq.compiler.frontend.check import random_inputs

SAMPLE_RATE = 16_000


def make_inputs(mod: tvm.IRModule, about: Mapping, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the inputs of a module's `main` by name, as a file's row in the table asks.

    `pictures` and `ranges` give least and largest values by the input's name, `sounds` the loudest
    sample; all other inputs are random.
    """
    inputs = random_inputs(mod, seed)
    rng = np.random.default_rng(seed)
    for name, (low, high) in about.get("ranges", {}).items():
        like = inputs[name]
        number = (
            rng.uniform(low, high, like.shape)
            if like.dtype.kind == "f"
            else rng.integers(low, high + 1, like.shape)
        )
        inputs[name] = np.asarray(number).astype(like.dtype)
    for name, chosen in about.get("pictures", {}).items():
        inputs[name] = picture(inputs[name].shape, *chosen, rng)
    for name, loudest in about.get("sounds", {}).items():
        inputs[name] = sound(inputs[name].shape, loudest, rng)
    return inputs


def picture(
    shape: tuple[int, ...], low: float, high: float, rng: np.random.Generator
) -> np.ndarray:
    """Return rectangles of even colours, from darkest to brightest, as an input of images."""
    channels_last = shape[-1] <= 3
    rows, columns = shape[1:3] if channels_last else shape[2:4]
    channels = shape[-1] if channels_last else shape[1]
    image = np.full((channels, rows, columns), 0.5)
    for _ in range(60):
        y, x = rng.integers(0, rows), rng.integers(0, columns)
        height, width = rng.integers(2, 2 + rows // 4), rng.integers(2, 2 + columns // 4)
        image[:, y : y + height, x : x + width] = rng.random((channels, 1, 1))
    image = low + (high - low) * (image + 0.02 * rng.standard_normal(image.shape))
    image = np.moveaxis(image, 0, -1) if channels_last else image
    return np.broadcast_to(image, shape).astype(np.float32)


def sound(shape: tuple[int, ...], loudest: float, rng: np.random.Generator) -> np.ndarray:
    """Return a voice-like sound, the same in every channel: a gliding tone of many harmonics.

    Its pitch goes between 90 and 300 Hz at 16,000 samples a second, syllables come and go four
    times a second, and the noise behind it is 30 dB down.
    """
    samples = max(shape)
    time = np.arange(samples) / SAMPLE_RATE
    start, depth, pace = rng.uniform(120, 220), rng.uniform(0.1, 0.3), rng.uniform(0.5, 2)
    pitch = start * (1 + depth * np.sin(2 * np.pi * pace * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.sin(number * phase + rng.uniform(0, 6)) / number for number in range(1, 20))
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time + rng.uniform(0, 6))
    wave = voice * swell
    wave = loudest * wave / np.abs(wave).max()
    wave = wave + loudest * 10 ** (-30 / 20) * 0.3 * rng.standard_normal(samples)
    along = int(np.argmax(shape))
    wave = wave.reshape([samples if axis == along else 1 for axis in range(len(shape))])
    return np.broadcast_to(wave, shape).astype(np.float32)
