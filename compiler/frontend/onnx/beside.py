"""What ONNX Runtime computes, to hold an import against."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from ....target.errors import ConfigError, InputError, last_line


def source_outputs(
    source: str | Path | onnx.ModelProto, inputs: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Return a model's outputs in order, in ONNX Runtime without its optimizations.

    Raises
    ------
    ConfigError
        When ONNX Runtime isn't installed.
    InputError
        When it can't run the model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "an ONNX model is checked against ONNX Runtime: `pip install onnxruntime`"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    text = source.SerializeToString() if isinstance(source, onnx.ModelProto) else str(source)
    try:
        session = onnxruntime.InferenceSession(text, options, ["CPUExecutionProvider"])
        given = {
            one.name: np.asarray(inputs[one.name]).astype(_dtype(one.type), copy=False)
            for one in session.get_inputs()
            if one.name in inputs
        }
        return session.run(None, given)
    except Exception as error:
        raise InputError(f"ONNX Runtime can't run the model: {last_line(error)}") from error


def _dtype(kind: str) -> str:
    """Return NumPy's name of a type that ONNX Runtime calls "tensor(float)"."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
