"""The interface of `onnx.backend`: any tool that runs ONNX models by it runs them on the machine.

``onnx.backend.test`` is one of those tools.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep
from tvm import relax

from ..runtime.session import Session
from ..target.errors import InputError
from .driver import Compilation, compile_model
from .frontend.load import load_model
from .frontend.onnx.shape_inputs import inputs_that_decide_shapes
from .frontend.repair import repair
from .options import Options


class PreparedModel(BackendRep):
    """A model for any number of runs, compiled when it is first needed.

    A program is for fixed shapes. An input whose values decide shapes, such as that of `Reshape`,
    can't be an input of one: it becomes a constant of what it is given at the first run, and
    another value of it compiles the model again. `prepare` compiles at once where there's none.

    Parameters
    ----------
    model : onnx.ModelProto
    options : Options
        Recipe, architecture and what else a compilation takes.
    """

    def __init__(self, model: onnx.ModelProto, options: Options) -> None:
        self.model, self.options = model, options
        constants = {tensor.name for tensor in model.graph.initializer}
        self.names = [value.name for value in model.graph.input if value.name not in constants]
        self.deciding = inputs_that_decide_shapes(model)
        self.bound: dict[str, np.ndarray] | None = None
        self.compilation: Compilation | None = None
        self.session: Session | None = None
        if not self.deciding:
            self._compile({})

    def run(self, inputs: Any, **_options: Any) -> tuple[np.ndarray, ...]:
        """Return the outputs for inputs in the order of the model's, or by name.

        Raises
        ------
        InputError
            For a number of inputs or names other than the model's.
        """
        rest = self._compiled_for(inputs)
        assert self.session is not None
        return tuple(self.session.run(*rest).outputs)

    def run_source(self, inputs: Any) -> tuple[np.ndarray, ...]:
        """Return the outputs of the model as it was imported, in its own precision, on LLVM."""
        rest = self._compiled_for(inputs)
        return tuple(Session(relax.build(repair(self.source), target="llvm")).run(*rest).outputs)

    def run_reference(self, inputs: Any) -> tuple[np.ndarray, ...]:
        """Return the outputs of the quantized model on LLVM: those of `run`, bit for bit."""
        rest = self._compiled_for(inputs)
        assert self.compilation is not None
        quantized = self.compilation.quantized
        return tuple(Session(relax.build(quantized, target="llvm")).run(*rest).outputs)

    def _compiled_for(self, inputs: Any) -> list[Any]:
        """Compile for the values of inputs that decide shapes; return the other inputs."""
        values = self._by_name(inputs)
        bound = {name: np.asarray(values[name]) for name in self.names if name in self.deciding}
        if self.bound is None or any(
            not _equal(value, self.bound[name]) for name, value in bound.items()
        ):
            self._compile(bound)
        return [values[name] for name in self.names if name not in self.deciding]

    def _compile(self, bound: dict[str, np.ndarray]) -> None:
        self.source = load_model(self.model, input_values=bound)
        self.compilation = compile_model(self.source, self.options)
        self.session = Session(self.compilation.executable)
        self.bound = bound

    def _by_name(self, inputs: Any) -> Mapping[str, Any]:
        if isinstance(inputs, Mapping):
            values = inputs
        else:
            listed: Sequence = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
            values = dict(zip(self.names, listed, strict=False))
            if len(listed) != len(self.names):
                raise InputError(
                    f"the model takes {len(self.names)} input(s) ({', '.join(self.names)}); "
                    f"given {len(listed)}"
                )
        if set(values) != set(self.names):
            raise InputError(
                f"the model takes the inputs {', '.join(self.names)}; given {', '.join(values)}"
            )
        return values


class MicroscopiqBackend(Backend):
    """Runs ONNX models on the simulated machine; what `Options` has are keyword arguments."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> PreparedModel:  # noqa: ARG003
        """Return the compiled model; see `PreparedModel` for when it is compiled.

        Raises
        ------
        MicroscopiqError
            As `build`.
        """
        return PreparedModel(model, Options(**options))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Tell whether a device can be asked for: the simulator and the host's part are on CPUs."""
        return device.split(":")[0] == "CPU"


def _equal(value: np.ndarray, bound: np.ndarray) -> bool:
    return value.dtype == bound.dtype and np.array_equal(value, bound)
