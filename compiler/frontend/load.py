"""Models of every form that is taken, to Relax modules."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tvm

from ...target.errors import ConfigError, InputError
from ..files import check_model_file


def load_model(
    source,
    example_inputs: tuple | None = None,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    input_values: Mapping[str, object] | None = None,
) -> tvm.IRModule:
    """Return the Relax module of a model.

    Parameters
    ----------
    source : str, Path, onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module or IRModule
    example_inputs : tuple of torch.Tensor, optional
        For an `nn.Module`.
    input_shapes : mapping of str to sequence of int, optional
        Sizes of inputs that an ONNX model leaves open, by input name. A batch that alone is open
        is taken as 1, with a warning.
    input_values : mapping of str to array, optional
        Inputs of an ONNX model that are constants of the compiled one, such as a sample rate.

    Raises
    ------
    InputError
        For something that is no model, or one that leaves sizes open.
    ConfigError
        For a shape or a value that doesn't fit the model's inputs.
    UnsupportedError
        For an operator that TVM can't import.
    """
    if isinstance(source, str | Path):
        from .onnx.load import load_onnx

        return load_onnx(check_model_file(source), input_shapes, input_values)
    kind = type(source).__module__.split(".")[0]
    if kind == "onnx":
        from .onnx.load import load_onnx

        return load_onnx(source, input_shapes, input_values)
    if input_shapes or input_values:
        raise ConfigError(
            f"input_shapes and input_values are for ONNX models; {type(source).__name__} has its "
            "sizes from where it was exported"
        )
    if isinstance(source, tvm.IRModule):
        return source
    if kind == "torch" or any(base.__module__.startswith("torch.") for base in type(source).mro()):
        from .torch.load import load_torch

        return load_torch(source, example_inputs)
    raise InputError(
        f"can't load a model from {type(source).__name__}; allowed: path of an .onnx file, "
        "onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module, tvm.IRModule"
    )
