"""The demo: a trained digits model, compiled and run on all of its held-out images."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from ...runtime.results.result import RunResult, merge
from ...runtime.session import Session
from ...runtime.whole_file import make_folder, write_file
from ..driver import Compilation, compile_model
from ..frontend.load import load_model
from ..llvm import build_for_llvm
from ..options import Options
from .digits import held_out

FOLDER = Path(__file__).parent
TITLES = {"vit": "vision transformer", "cnn": "convolutional network"}
BATCH = 60
"""Images of one call: the batch that the .onnx files were exported with."""
LISTING = "30_program.asm"


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured.

    Attributes
    ----------
    compilation : Compilation
    run : RunResult
        All batches, one after the other.
    images : int
        Held-out images that ran; no training has seen them.
    correct, correct_fp32 : int
        Right predictions of the machine and of the unquantized model on LLVM.
    agreeing : int
        Images for which both predict the same digit.
    seconds : float
        Time on this computer: import, compilation, both runs.
    folder : Path
        What every stage made, and ``result.json``.
    """

    model: str
    recipe: str
    compilation: Compilation
    run: RunResult
    images: int
    correct: int
    correct_fp32: int
    agreeing: int
    seconds: float
    folder: Path

    @property
    def weights(self) -> int:
        """Weights that the array multiplies with."""
        layers = self.compilation.layers.values()
        return sum(record.weights.count for record in layers if record.weights)

    @property
    def bits_per_weight(self) -> float:
        """Bits of the packed segments in the program over weights; scales included."""
        program = self.compilation.program
        functions = program.functions.values() if program else ()
        return 8 * sum(len(f.weights) for f in functions) / self.weights

    def to_json(self) -> dict:
        """Return what `print_demo` prints, for `--json` and result.json."""
        return {
            "version": 1,
            "model": self.model,
            "recipe": self.recipe,
            "arch": self.compilation.arch.name,
            "images": self.images,
            "accuracy": self.correct / self.images,
            "accuracy_fp32": self.correct_fp32 / self.images,
            "agreement": self.agreeing / self.images,
            "weights": self.weights,
            "bits_per_weight": self.bits_per_weight,
            "host": self.compilation.host,
            "wall_seconds": self.seconds,
            "run": self.run.to_json(),
        }


def run_demo(
    model: str, recipe: str, arch: str, folder: Path, progress: Callable | None = None
) -> DemoResult:
    """Compile a model of this package and run its held-out images on the simulator.

    Parameters
    ----------
    model : str
        ``vit`` or ``cnn``.
    folder : Path
        Gets the files of every stage and ``result.json``.
    progress : callable, optional
        As `Options.progress`.

    Raises
    ------
    MicroscopiqError
        As `compile_model`; `InputError` without scikit-learn, which has the images.
    """
    started = time.monotonic()
    images, labels = held_out()
    batches = images.reshape(-1, BATCH, *images.shape[1:])
    module = load_model(FOLDER / f"digits_{model}.onnx")
    folder = make_folder(folder)
    options = Options(recipe=recipe, arch=arch, dump_dir=folder, progress=progress)
    state = compile_model(module, options)
    session = Session(state.executable)
    results = []
    for index, batch in enumerate(batches):
        if progress:
            progress("run", index, len(batches), "batches of images")
        results.append(session.run(batch))
    run = merge(results)
    digits = np.concatenate([scores.argmax(1) for scores in run.outputs])
    digits_fp32 = np.concatenate([scores.argmax(1) for scores in _run_fp32(module, batches)])
    result = DemoResult(
        model=model,
        recipe=str(recipe),
        compilation=state,
        run=run,
        images=len(labels),
        correct=int((digits == labels).sum()),
        correct_fp32=int((digits_fp32 == labels).sum()),
        agreeing=int((digits == digits_fp32).sum()),
        seconds=time.monotonic() - started,
        folder=folder,
    )
    write_file(folder / "result.json", json.dumps(result.to_json(), indent=1))
    return result


def _run_fp32(module: tvm.IRModule, batches: np.ndarray) -> list[np.ndarray]:
    """Return the scores of the unquantized model on plain LLVM."""
    # At its default level LLVM optimizes this model for five seconds to save one while it runs.
    machine = relax.VirtualMachine(build_for_llvm(module, opt_level=1), tvm.cpu())
    outputs = [machine["main"](tvm.runtime.tensor(batch)) for batch in batches]
    return [(out if hasattr(out, "numpy") else out[0]).numpy() for out in outputs]
