"""ONNX models, from a path or a ModelProto."""

from pathlib import Path

import onnx
import tvm
from google.protobuf.message import DecodeError
from tvm.relax.frontend.onnx import from_onnx

from ...target.errors import InputError, UnsupportedError
from ..files import check_model_file
from ..names import digest, with_names


def load_onnx(source: str | Path | onnx.ModelProto) -> tvm.IRModule:
    """Return the Relax module of an ONNX model, names of its parameters attached.

    Raises
    ------
    InputError
        For a file that is missing, no ONNX, or truncated.
    UnsupportedError
        For an operator that TVM can't import.
    """
    model = source if isinstance(source, onnx.ModelProto) else _read(check_model_file(source))
    where = "the model" if isinstance(source, onnx.ModelProto) else str(source)
    try:
        mod = from_onnx(model, keep_params_in_input=False)
    except tvm.error.OpNotImplemented as error:
        raise UnsupportedError(f"{where}: TVM can't import it: {_first_line(error)}") from None
    except Exception as error:
        if "not supported for frontend ONNX" in str(error):
            raise UnsupportedError(f"{where}: TVM can't import it: {_first_line(error)}") from None
        raise InputError(f"{where}: TVM can't import it: {_first_line(error)}") from error
    names = {
        digest(onnx.numpy_helper.to_array(tensor)): tensor.name
        for tensor in model.graph.initializer
    }
    return with_names(mod, names)


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path))
    except (DecodeError, ValueError, OSError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"{path}: not an ONNX model or a damaged one ({path.stat().st_size} bytes): "
            f"{_first_line(error)}"
        ) from None
    if not model.graph.node or not model.opset_import:
        lacking = "opset version" if model.graph.node else "graph"
        raise InputError(f"{path}: not an ONNX model or a damaged one: it has no {lacking}")
    return model


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
