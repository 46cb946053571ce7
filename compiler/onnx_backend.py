"""The interface of `onnx.backend`: any tool that runs ONNX models by it runs them on the machine.

``onnx.backend.test`` is one of those tools.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from ..runtime.results.result import RunResult
from ..runtime.session import Session
from ..target.errors import InputError, UnsupportedError
from .driver import Compilation, compile_model
from .frontend.load import load_model
from .frontend.onnx.shape_inputs import inputs_that_decide_shapes
from .frontend.repair import repair
from .llvm import build_for_llvm
from .options import Options


class PreparedModel(BackendRep):
    """A model for any number of runs, compiled when it is first needed.

    A program is for fixed shapes. An input whose values decide shapes, such as that of `Reshape`,
    can't be an input of one: it becomes a constant of what it is given at the first run, and
    another value of it compiles the model again. So does another size, where the model leaves it
    open. `prepare` compiles at once where there's neither.

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
        self.open = [
            value.name
            for value in model.graph.input
            if value.name in self.names and value.name not in self.deciding and _is_open(value)
        ]
        self.bound: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.compilation: Compilation | None = None
        self.session: Session | None = None
        if not self.deciding and not self.open:
            self._compile({}, {})

    def run(self, inputs: Any, **_options: Any) -> tuple[np.ndarray, ...]:
        """Return the outputs for inputs in the order of the model's, or by name.

        Raises
        ------
        InputError
            For a number of inputs or names other than the model's.
        """
        return tuple(self.simulate(inputs).outputs)

    def simulate(self, inputs: Any) -> RunResult:
        """Return what `run` does with what it cost."""
        rest = self._compiled_for(inputs)
        assert self.session is not None
        return self.session.run(*rest)

    def run_source(self, inputs: Any) -> tuple[np.ndarray, ...]:
        """Return the outputs of the model as it was imported, in its own precision, on LLVM."""
        rest = self._compiled_for(inputs)
        return tuple(Session(build_for_llvm(repair(self.source))).run(*rest).outputs)

    def run_reference(self, inputs: Any) -> tuple[np.ndarray, ...]:
        """Return the outputs of the quantized model on LLVM: those of `run`, bit for bit."""
        rest = self._compiled_for(inputs)
        assert self.compilation is not None
        return tuple(Session(build_for_llvm(self.compilation.quantized)).run(*rest).outputs)

    def _compiled_for(self, inputs: Any) -> list[Any]:
        """Compile for what decides shapes, if it's not compiled for it; return the other inputs."""
        values = {name: _array(value) for name, value in self._by_name(inputs).items()}
        bound = {name: values[name] for name in self.names if name in self.deciding}
        shapes = {name: values[name].shape for name in self.open}
        if self.compilation is None or shapes != self.shapes or not _equal(bound, self.bound):
            self._compile(bound, shapes)
        return [values[name] for name in self.names if name not in self.deciding]

    def _compile(self, bound: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
        self.source = load_model(self.model, input_values=bound, input_shapes=shapes)
        self.compilation = compile_model(self.source, self.options)
        self.session = Session(self.compilation.executable)
        self.bound, self.shapes = bound, shapes

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


def _is_open(value: onnx.ValueInfoProto) -> bool:
    """Tell whether a model leaves a size of an input to whoever runs it."""
    tensor = value.type.tensor_type
    if value.type.HasField("tensor_type") and not tensor.HasField("shape"):
        return True
    return any(dim.dim_value <= 0 for dim in tensor.shape.dim)


def _array(value: Any) -> np.ndarray:
    """Return an input as an array; the suite of ONNX also has tensors of its own."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, list | tuple) or value is None:
        raise UnsupportedError("sequences and optional values: programs take tensors")
    return np.asarray(value)


def _equal(values: dict[str, np.ndarray], bound: dict[str, np.ndarray]) -> bool:
    return values.keys() == bound.keys() and all(
        value.dtype == bound[name].dtype and np.array_equal(value, bound[name])
        for name, value in values.items()
    )
