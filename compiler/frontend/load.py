"""Models of every form that is taken, to Relax modules."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tvm

from ...target.errors import ConfigError, InputError
from ..files import check_model_file
from .join import join


def load_model(
    source,
    example_inputs: tuple | Mapping[str, tuple] | None = None,
    *,
    input_shapes: Mapping[str, Sequence[int | str]] | None = None,
    input_values: Mapping[str, object] | None = None,
    max_sizes: Mapping[str, int] | None = None,
    check: bool = False,
    dump_dir: str | Path | None = None,
) -> tvm.IRModule:
    """Return the Relax module of a model.

    Parameters
    ----------
    source : str, Path, onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module or IRModule
        Or a mapping of these by name: each is a function of one module, and they share weights and
        state.
    example_inputs : tuple of torch.Tensor, optional
        For an `nn.Module`; of a mapping, a mapping too.
    input_shapes : mapping of str to sequence of int or str, optional
        Sizes of inputs that an ONNX model leaves open, by input name; the name of a size is one
        that a call decides. A batch that alone is open is taken as 1, with a warning.
    input_values : mapping of str to array, optional
        Inputs of an ONNX model that are constants of the compiled one, such as a sample rate.
    max_sizes : mapping of str to int, optional
        Bounds of sizes of an ONNX model that stay open, by the name that it or `input_shapes` gives
        them: one program serves all sizes up to them.
    check : bool
        Run the fp32 module beside its source, ONNX Runtime on random inputs or torch on the
        program's example inputs, and raise if it computes something else.
    dump_dir : str or Path, optional
        Folder that gets a file of what each pass changed of an ONNX graph.

    Raises
    ------
    InputError
        For something that is no model, or one that leaves sizes open; with `check`, for an import
        that isn't right.
    ConfigError
        For a shape or a value that doesn't fit the model's inputs.
    UnsupportedError
        For an operator that TVM can't import.
    """
    if isinstance(source, Mapping):
        return _joined(source, example_inputs, input_shapes or max_sizes, input_values, check)
    if is_onnx(source):
        from .onnx.load import load_onnx

        given = check_model_file(source) if isinstance(source, str | Path) else source
        mod = load_onnx(given, input_shapes, input_values, dump_dir, max_sizes)
        return _checked_onnx(source, mod, input_values) if check else mod
    if input_shapes or input_values or max_sizes:
        raise ConfigError(
            "input_shapes, input_values and max_sizes are for ONNX models; "
            f"{type(source).__name__} has its sizes from where it was exported"
        )
    kind = type(source).__module__.split(".")[0]
    if isinstance(source, tvm.IRModule):
        if check:
            raise ConfigError("check=True is for a model's source; a module is what it is")
        return source
    if kind == "torch" or any(base.__module__.startswith("torch.") for base in type(source).mro()):
        from .torch.load import load_torch

        if isinstance(example_inputs, Mapping):
            raise ConfigError("example_inputs by name are for several models, a mapping too")
        return load_torch(source, example_inputs, check)
    raise InputError(
        f"can't load a model from {type(source).__name__}; allowed: path of an .onnx file, "
        "onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module, tvm.IRModule"
    )


def is_onnx(source) -> bool:
    """Tell whether a model is one of ONNX: a path, or loaded."""
    return isinstance(source, str | Path) or type(source).__module__.split(".")[0] == "onnx"


def _joined(source: Mapping, example_inputs, input_shapes, input_values, check) -> tvm.IRModule:
    """Return the models of a mapping as one module."""
    if not source or input_shapes or input_values:
        raise ConfigError(
            "several models need a name each, and their sizes: call load_model for each that has "
            "input_shapes, input_values or max_sizes, and give a mapping of the modules"
        )
    given = example_inputs or {}
    return join(
        {name: load_model(one, given.get(name), check=check) for name, one in source.items()}
    )


def _checked_onnx(source, mod: tvm.IRModule, input_values) -> tvm.IRModule:
    """Return the module if it computes what ONNX Runtime does."""
    from .check import check_import, random_inputs
    from .onnx.beside import source_outputs

    inputs = random_inputs(mod)
    fixed = {name: np.asarray(value) for name, value in (input_values or {}).items()}
    expected = source_outputs(source, {**inputs, **fixed})
    check_import(mod, list(inputs.values()), expected, "ONNX Runtime")
    return mod
