"""compiler/demo/digits.py: the images, and who doesn't have them."""

import hashlib
import importlib.util

import numpy as np
import pytest

from microscopiq.compiler.demo.digits import held_out, train_split
from microscopiq.target.errors import InputError

# Of `images / 16` as float32 and of `target`, from load_digits() of scikit-learn 1.9.
SKLEARN = "8b3b6ae90863430bdef06a3f7d1ec2f6a905a53d3375655b18cf63780ad98772"


def test_the_images_are_those_of_scikit_learn(monkeypatch):
    whole = "microscopiq.compiler.demo.digits._held_out_mask"
    monkeypatch.setattr(whole, lambda labels: np.ones(len(labels), bool))
    images, labels = held_out()
    assert (images.shape, images.dtype, labels.dtype) == ((1797, 1, 8, 8), "float32", "int64")
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == SKLEARN


def test_as_many_of_each_digit_are_held_out():
    (images, labels), (others, _) = held_out(), train_split()
    assert np.bincount(labels).tolist() == [36] * 10
    seen = {image.tobytes() for image in others}
    assert len(images) + len(others) == 1797
    assert not any(image.tobytes() in seen for image in images)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"scikit-learn is not installed.*microscopiq\[demo\]"):
        held_out()
