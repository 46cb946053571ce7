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
    given = source.SerializeToString() if isinstance(source, onnx.ModelProto) else str(source)
    try:
        session = onnxruntime.InferenceSession(given, options, ["CPUExecutionProvider"])
        wanted = {one.name for one in session.get_inputs()}
        return session.run(None, {name: inputs[name] for name in wanted if name in inputs})
    except Exception as error:
        raise InputError(f"ONNX Runtime can't run the model: {last_line(error)}") from error
