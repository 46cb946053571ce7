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

    `ranges` and each of `KINDS` give least and largest values by the input's name; all other
    inputs are random.
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
    for kind, make in KINDS.items():
        for name, chosen in about.get(kind, {}).items():
            inputs[name] = make(inputs[name].shape, *chosen, rng)
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


def ridges(shape: tuple[int, ...], low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """Return a whorl of ridges 9 pixels apart, as a fingerprint has, as images ``(n, h, w, 1)``."""
    y, x = np.mgrid[: shape[1], : shape[2]] - np.array(shape[1:3]).reshape(2, 1, 1) * 0.5
    y, x = y - rng.uniform(-9, 9), x - rng.uniform(-9, 9)
    away = np.hypot(x, 0.7 * y) + 3 * np.sin(2 * np.arctan2(y, x) + rng.uniform(0, 6))
    ink = 0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * away / 9 + np.arctan2(y, x)))
    image = low + (high - low) * (ink + 0.03 * rng.standard_normal(ink.shape))
    return np.broadcast_to(image[None, ..., None], shape).astype(np.float32)


def writing(
    shape: tuple[int, ...], low: float, high: float, rng: np.random.Generator
) -> np.ndarray:
    """Return dark strokes on a bright page, in lines of signs, as images ``(n, c, h, w)``."""
    page = np.ones(shape[2:])
    rows, columns = page.shape
    for y in range(14, rows - 16, 40):
        x = 10
        while x < columns - 14:
            width = rng.integers(6, 11)
            for _ in range(3):
                down, across = y + rng.integers(0, 14), x + rng.integers(0, width - 2)
                if rng.random() < 0.5:
                    page[y : y + 16, across : across + 2] = 0
                else:
                    page[down : down + 2, x : x + width] = 0
            x += width + 3
    return np.broadcast_to(low + (high - low) * page, shape).astype(np.float32)


def sound(shape: tuple[int, ...], low: float, high: float, rng: np.random.Generator) -> np.ndarray:
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
    wave = wave / np.abs(wave).max() + 10 ** (-30 / 20) * 0.3 * rng.standard_normal(samples)
    wave = (low + high) / 2 + (high - low) / 2 * wave
    along = int(np.argmax(shape))
    wave = wave.reshape([samples if axis == along else 1 for axis in range(len(shape))])
    return np.broadcast_to(wave, shape).astype(np.float32)


KINDS = {"pictures": picture, "ridges": ridges, "sounds": sound, "writings": writing}
