"""Pretrained models that other people trained, as plain eager torch modules.

Tests and benchmarks measure on these: real weights have the outliers that random ones lack. No
weight file is shipped here. The checkpoints and data are looked up in the folder named by the
environment variable ``MICROSCOPIQ_DATA``, and what is absent is reported as `MissingData`, so that
a test can skip with a message that says what to provide.

>>> from benchmarks.models import MODELS
>>> real = MODELS["resnet20"]()                 # doctest: +SKIP
>>> logits = real.module(*real.example_inputs)  # doctest: +SKIP

Importing this package does not import torch; calling a loader does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["MODELS", "MissingData", "RealModel", "data_dir", "data_file"]

DATA_VARIABLE = "MICROSCOPIQ_DATA"


class MissingData(Exception):
    """A checkpoint, data file or model package is not on this machine; the text names it."""


@dataclass(frozen=True)
class RealModel:
    """A pretrained model with inputs to run it on.

    Attributes
    ----------
    name : str
        Key in `MODELS`.
    module : torch.nn.Module
        In eval mode, on the CPU, float32.
    example_inputs : tuple of torch.Tensor
        Positional arguments of ``module``; their shapes are the ones to export with.
    batches : callable
        ``batches(count=4)`` returns ``count`` tuples with the shapes and dtypes of
        ``example_inputs``: representative inputs for calibration and for comparing outputs.
        The same count always gives the same values.
    """

    name: str
    module: torch.nn.Module
    example_inputs: tuple[torch.Tensor, ...]
    batches: Callable[..., list[tuple[torch.Tensor, ...]]]

    def example_outputs(self) -> list[np.ndarray]:
        """Return the outputs of fp32 for the example inputs."""
        outputs = self.module(*self.example_inputs)
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        return [tensor.detach().numpy() for tensor in tensors]


def data_dir() -> Path:
    """Return the folder with the pretrained models.

    Raises
    ------
    MissingData
        ``MICROSCOPIQ_DATA`` is not set or names no folder.
    """
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        raise MissingData(f"set {DATA_VARIABLE} to the folder with the pretrained models")
    path = Path(value)
    if not path.is_dir():
        raise MissingData(f"{DATA_VARIABLE}={value} is not a folder")
    return path


def data_file(*parts: str) -> Path:
    """Return an existing file below `data_dir`, or raise `MissingData` naming it."""
    path = data_dir().joinpath(*parts)
    if not path.is_file():
        raise MissingData(f"{path} is missing (looked up below {DATA_VARIABLE})")
    return path


# Each loader imports its file when called, so that listing the names needs neither torch nor
# transformers. Keyword arguments (such as length=) go through to the loader proper.
def _load_minilm(**options: int) -> RealModel:
    from . import minilm

    return minilm.load(**options)


def _load_resnet20(**options: int) -> RealModel:
    from . import resnet20

    return resnet20.load(**options)


def _load_ddpm(**options: int) -> RealModel:
    from . import ddpm

    return ddpm.load(**options)


def _load_silero(**options: int) -> RealModel:
    from . import silero

    return silero.load(**options)


def _load_stories260k(**options: int) -> RealModel:
    from . import llama2c

    return llama2c.load("stories260k", **options)


def _load_babyllama(**options: int) -> RealModel:
    from . import llama2c

    return llama2c.load("babyllama", **options)


MODELS: dict[str, Callable[..., RealModel]] = {
    "minilm": _load_minilm,
    "resnet20": _load_resnet20,
    "ddpm": _load_ddpm,
    "silero": _load_silero,
    "stories260k": _load_stories260k,
    "babyllama": _load_babyllama,
}
