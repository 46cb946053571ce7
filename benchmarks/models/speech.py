"""Sound in the manner of speech, made from nothing: voiced syllables, hisses, pauses, noise.

Nobody's recording and the same on every machine. Formant synthesis after Klatt (1980) in its
simplest form: a train of glottal pulses with a wandering pitch goes through three resonators whose
frequencies glide from vowel to vowel (Peterson and Barney 1952, averages of men); syllables rise
and fall, some begin with a hiss, phrases are parted by pauses, and there is always some noise.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.signal import lfilter

RATE = 16_000
SECONDS = 8
VOWELS = np.array(
    [
        (270, 2290, 3010),
        (390, 1990, 2550),
        (530, 1840, 2480),
        (660, 1720, 2410),
        (730, 1090, 2440),
        (570, 840, 2410),
        (440, 1020, 2240),
        (300, 870, 2240),
        (640, 1190, 2390),
        (490, 1350, 1690),
    ]
)
"""First three formants in Hz."""
BANDWIDTHS = (60, 90, 150)
BLOCK = 160
"""Samples with one set of formants: 10 ms."""


@functools.cache
def speech(count: int, seed: int) -> torch.Tensor:
    """Return float32 (count, 128000): 8 s each at 16 kHz, in [-1, 1]; parts of it are silence."""
    sounds = [_sound(np.random.default_rng((seed, number))) for number in range(count)]
    return torch.from_numpy(np.stack(sounds).astype(np.float32))


def _sound(rng: np.random.Generator) -> np.ndarray:
    out = np.zeros(SECONDS * RATE)
    pitch = rng.uniform(85.0, 230.0)
    # Longer vocal tracks go with lower voices.
    tract = 0.9 + 0.25 * (pitch - 85.0) / 145.0
    place = int(rng.uniform(0.1, 0.6) * RATE)
    while place < len(out):
        for _ in range(rng.integers(3, 9)):
            part = _syllable(rng, pitch, tract)[: max(0, len(out) - place)]
            out[place : place + len(part)] += part
            place += len(part)
        place += int(rng.uniform(0.3, 1.2) * RATE)
    out *= rng.uniform(0.15, 0.6) / np.abs(out).max()
    noise = rng.standard_normal(len(out)) * 10.0 ** rng.uniform(-4.0, -2.0)
    return np.clip(out + noise, -1.0, 1.0)


def _syllable(rng: np.random.Generator, pitch: float, tract: float) -> np.ndarray:
    blocks = int(rng.integers(12, 30))
    glide = np.linspace(0.0, 1.0, blocks)[:, None]
    first, last = VOWELS[rng.integers(0, len(VOWELS), 2)]
    formants = tract * (first * (1.0 - glide) + last * glide)
    length = blocks * BLOCK
    slope = np.linspace(rng.uniform(0.95, 1.15), rng.uniform(0.8, 1.0), length)
    wobble = 1.0 + 0.01 * np.cumsum(rng.standard_normal(length)) / np.sqrt(length)
    phase = np.cumsum(pitch * slope * wobble) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(length)
    # The glottis falls by 12 dB an octave, and the lips raise by 6.
    voice = lfilter([1.0], [1.0, -0.9], pulses)
    for number, bandwidth in enumerate(BANDWIDTHS):
        voice = _resonator(voice, formants[:, number], bandwidth)
    voice *= np.sin(np.linspace(0.0, np.pi, length)) ** 0.5 / np.abs(voice).max()
    if rng.random() < 0.4:
        hiss = _hiss(rng, int(rng.integers(5, 12)) * BLOCK)
        return np.concatenate([hiss, voice])
    return voice


def _resonator(x: np.ndarray, frequencies: np.ndarray, bandwidth: float) -> np.ndarray:
    """Filter with one pair of poles that moves from block to block."""
    out, state = np.empty_like(x), np.zeros(2)
    radius = np.exp(-np.pi * bandwidth / RATE)
    for block, frequency in enumerate(frequencies):
        cosine = 2.0 * radius * np.cos(2.0 * np.pi * frequency / RATE)
        poles = [1.0, -cosine, radius**2]
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        out[part], state = lfilter([1.0 - cosine + radius**2], poles, x[part], zi=state)
    return out


def _hiss(rng: np.random.Generator, length: int) -> np.ndarray:
    noise = lfilter([1.0, -0.95], [1.0], rng.standard_normal(length))
    return 0.08 * noise * np.sin(np.linspace(0.0, np.pi, length))
