"""Models of every form that is taken, to Relax modules."""

from pathlib import Path

import tvm

from ...target.errors import InputError
from ..files import check_model_file


def load_model(source, example_inputs: tuple | None = None) -> tvm.IRModule:
    """Return the Relax module of a model.

    Parameters
    ----------
    source : str, Path, onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module or IRModule
    example_inputs : tuple of torch.Tensor, optional
        For an `nn.Module`.

    Raises
    ------
    InputError
        For something that is no model.
    UnsupportedError
        For an operator that TVM can't import.
    """
    if isinstance(source, tvm.IRModule):
        return source
    if isinstance(source, str | Path):
        from .onnx.load import load_onnx

        return load_onnx(check_model_file(source))
    kind = type(source).__module__.split(".")[0]
    if kind == "onnx":
        from .onnx.load import load_onnx

        return load_onnx(source)
    if kind == "torch" or any(base.__module__.startswith("torch.") for base in type(source).mro()):
        from .torch.load import load_torch

        return load_torch(source, example_inputs)
    raise InputError(
        f"can't load a model from {type(source).__name__}; allowed: path of an .onnx file, "
        "onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module, tvm.IRModule"
    )
