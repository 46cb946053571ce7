"""The node tests of onnx.backend.test by TVM alone: its own importer, and LLVM for all of a model.

What is beside the machine is TVM as it is installed, without this project's front end and passes.
"""

import contextlib
import io
import warnings
from typing import Any

import numpy as np

from .onnx_suite import array, compare, short

PASSES, FAILS = "passes", "fails"


def verdict(test: Any) -> dict[str, str]:
    """Return ``result``: whether plain TVM passes a test, and the ``reason`` why it doesn't."""
    words = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(words):
            warnings.simplefilter("ignore")
            for inputs, wanted in test.data_sets:
                _hold(test, list(inputs), wanted)
    except Exception as error:
        return {"result": FAILS, "reason": f"{type(error).__name__}: {short(error)}"}
    return {"result": PASSES}


def _hold(test: Any, inputs: list[Any], wanted: Any) -> None:
    """Raise unless a model gives what is wanted, its inputs as they are or, where TVM's importer
    wants to know them, as constants."""
    try:
        found = _outputs(test.model, inputs)
    except Exception:
        model, rest = _with_constants(test.model, inputs)
        if len(rest) == len(inputs):
            raise
        found = _outputs(model, rest)
    compare(found, wanted, test.rtol, test.atol)


def _outputs(model: Any, inputs: list[Any]) -> list[np.ndarray]:
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    if any(value is None or isinstance(value, list) for value in inputs):
        raise TypeError("sequences and optional values, of which TVM's importer makes tensors")
    arrays = [array(value) for value in inputs]
    names = [value.name for value in model.graph.input]
    shapes = {name: list(each.shape) for name, each in zip(names, arrays, strict=True)}
    mod = from_onnx(model, shape_dict=shapes)
    mod = relax.transform.DecomposeOpsForInference()(mod)
    executable = relax.build(mod, target="llvm")
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return _flat(machine["main"](*(tvm.runtime.tensor(each) for each in arrays)))


def _flat(value: Any) -> list[np.ndarray]:
    return [value.numpy()] if hasattr(value, "numpy") else [one.numpy() for one in value]


def _with_constants(model: Any, inputs: list[Any]) -> tuple[Any, list[Any]]:
    """Return a model whose inputs that decide shapes are constants, and its other inputs."""
    import onnx

    from microscopiq.compiler.frontend.onnx.shape_inputs import inputs_that_decide_shapes

    deciding = inputs_that_decide_shapes(model)
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.input[:]
    rest = []
    for value, given in zip(model.graph.input, inputs, strict=True):
        if value.name in deciding:
            tensor = onnx.numpy_helper.from_array(array(given), value.name)
            fixed.graph.initializer.append(tensor)
        else:
            fixed.graph.input.append(value)
            rest.append(given)
    return fixed, rest
