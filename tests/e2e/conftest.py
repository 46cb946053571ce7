"""Fixtures of the end-to-end tests: the command line in this process, one compiled model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import microscopiq
from microscopiq.compiler.cli.main import main


@dataclass(frozen=True)
class Shell:
    """What one command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def shell(capfd: pytest.CaptureFixture) -> Callable[..., Shell]:
    """Return a function that runs `microscopiq` with arguments in this process."""

    def run(*arguments: object) -> Shell:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Shell(stop.value.code or 0, out, err)

    return run


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """Return the folder with digits_vit.onnx and digits_cnn.onnx."""
    from microscopiq.compiler.demo import run

    return run.FOLDER


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, demo_folder: Path) -> Path:
    """Return digits_cnn.onnx, compiled once for all tests of a process."""
    path = tmp_path_factory.mktemp("library") / "cnn.so"
    microscopiq.export_library(microscopiq.build(demo_folder / "digits_cnn.onnx"), path)
    return path


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Return one batch for digits_cnn.onnx."""
    return np.random.default_rng(0).random((60, 1, 8, 8), np.float32)
