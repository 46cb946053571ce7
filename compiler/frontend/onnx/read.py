"""Files to ONNX models."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ....target.errors import InputError, last_line


def read_model(path: Path) -> onnx.ModelProto:
    """Return the model in a file.

    Raises
    ------
    InputError
        For a file that is no ONNX model, or a damaged one.
    """
    try:
        model = onnx.load(str(path))
    except (DecodeError, ValueError, OSError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"{path}: not an ONNX model or a damaged one ({path.stat().st_size} bytes): "
            f"{last_line(error)}"
        ) from None
    if not model.graph.node or not model.opset_import:
        lacking = "opset version" if model.graph.node else "graph"
        raise InputError(f"{path}: not an ONNX model or a damaged one: it has no {lacking}")
    return model
