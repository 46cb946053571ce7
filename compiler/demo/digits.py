"""scikit-learn's 8x8 digits, split once and for all into training and held-out images."""

import importlib.util
from pathlib import Path

import numpy as np

from microscopiq.target.errors import InputError

# 36 images of each digit: 360 held out of 1797 (20 %), six batches of 60.
HELD_OUT_PER_CLASS = 36
SPLIT_SEED = 2024
# The file counts ink in integers from 0 to 16.
INK_MAX = 16.0
DIGITS = "datasets/data/digits.csv.gz"
"""In scikit-learn: 64 pixels and the digit in a row."""


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Return the images that no training has seen, in the order of the data set.

    Returns
    -------
    images : numpy.ndarray
        float32, shape (360, 1, 8, 8), from 0 (paper) to 1 (full ink).
    labels : numpy.ndarray
        int64, shape (360,), exactly 36 of each digit.
    """
    images, labels = _load()
    chosen = _held_out_mask(labels)
    return images[chosen], labels[chosen]


def train_split() -> tuple[np.ndarray, np.ndarray]:
    """Return the other images, for training and for calibration.

    Returns
    -------
    images : numpy.ndarray
        float32, shape (1437, 1, 8, 8), from 0 (paper) to 1 (full ink).
    labels : numpy.ndarray
        int64, shape (1437,).
    """
    images, labels = _load()
    chosen = ~_held_out_mask(labels)
    return images[chosen], labels[chosen]


def _load() -> tuple[np.ndarray, np.ndarray]:
    """Return all 1797 images and labels; scikit-learn ships them, nothing is downloaded.

    Its file is read without it: `import sklearn` takes 2 s.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise InputError(
            "scikit-learn is not installed: the demo's images come with it; "
            "run pip install 'microscopiq[demo]'"
        )
    rows = np.loadtxt(Path(spec.origin).parent / DIGITS, delimiter=",")
    # Paper is 0, so that a convolution's zero padding looks like more paper.
    images = (rows[:, :-1] / INK_MAX).astype(np.float32).reshape(-1, 1, 8, 8)
    return images, rows[:, -1].astype(np.int64)


def _held_out_mask(labels: np.ndarray) -> np.ndarray:
    """Return which images are held out, the same ones under every library version.

    The .onnx files in this folder were trained on the rest, so a split that drifted would leak.
    NumPy has frozen RandomState's stream; train_test_split makes no such promise.
    """
    random = np.random.RandomState(SPLIT_SEED)
    mask = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        mask[random.permutation(members)[:HELD_OUT_PER_CLASS]] = True
    return mask
