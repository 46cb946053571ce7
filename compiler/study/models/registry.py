"""The architectures of the matrix by name, and how to make modules without importing torch."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FAMILIES = ("images", "dense", "language", "sequence", "recurrent", "other")
"""Files of this folder, each with the architectures of one family."""

Made = tuple[Any, tuple]
"""A `torch.nn.Module`, or an exported program, and its example inputs."""


@dataclass(frozen=True)
class Architecture:
    """One row of the matrix.

    Attributes
    ----------
    make : callable
        Returns the model, and a tuple of torch tensors.
    onnx : bool
        Whether it goes through ONNX too; state doesn't.
    """

    name: str
    make: Callable[[], Made]
    onnx: bool = True


_ARCHITECTURES: dict[str, Architecture] = {}


def architecture(name: str, onnx: bool = True) -> Callable:
    """Register a function without arguments as an architecture."""

    def register(make: Callable[[], Made]) -> Callable[[], Made]:
        _ARCHITECTURES[name] = Architecture(name, make, onnx)
        return make

    return register


def architectures() -> dict[str, Architecture]:
    """Return all architectures by name, in the order of the families."""
    for family in FAMILIES:
        importlib.import_module(f"{__package__}.{family}")
    return dict(_ARCHITECTURES)


def module(forward: Callable, **parts):
    """Return a module of named parts; `forward` is called with it and the inputs."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, *inputs):
            return forward(self, *inputs)

    return Model()


def hugging_face(kind: str, config: str, call: Callable, **sizes):
    """Return a random model of `transformers` as a module; `call` is called with it and inputs."""
    import transformers

    settings = getattr(transformers, config)(**sizes)
    settings._attn_implementation = "eager"
    model = getattr(transformers, kind)(settings).eval()
    return module(lambda self, *inputs: call(self.model, *inputs), model=model)


def image(channels: int = 3, size: int = 32):
    """Return one random image ``(1, channels, size, size)``."""
    import torch

    return torch.randn(1, channels, size, size)


def tokens(length: int = 16, vocabulary: int = 64):
    """Return random token ids ``(1, length)``."""
    import torch

    return torch.randint(0, vocabulary, (1, length))
