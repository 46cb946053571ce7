"""PyTorch models: an exported program, or a module with example inputs."""

import numpy as np
import tvm

from ....target.errors import InputError, MicroscopiqError, UnsupportedError
from ...names import digest, with_names
from .converters import CONVERTERS
from .converters.registry import NAME, VALUE
from .state import Kept, carry_state, with_state


def load_torch(model, example_inputs: tuple | None = None) -> tvm.IRModule:
    """Return the Relax module of a `torch.export.ExportedProgram` or an `nn.Module`.

    What the model changes, buffers and parameters, is its state (`runtime.state`). Models of half
    precision compute in fp32.

    Parameters
    ----------
    model : torch.export.ExportedProgram or torch.nn.Module
    example_inputs : tuple of torch.Tensor, optional
        Needed for a module: their shapes become the compiled shapes.

    Raises
    ------
    InputError
        For a module without example inputs, or one that torch can't export.
    UnsupportedError
        For an operator that can't be imported, and for a model that changes its inputs.
    """
    import torch  # heavy and optional: only this frontend loads it

    program = _exported(model, example_inputs) if isinstance(model, torch.nn.Module) else model
    with torch.no_grad():
        program, kept = _prepared(program)
        mod = _imported(program)
    names: dict[str, str] = {}
    for name, value in program.state_dict.items():
        if value.dtype == torch.float32:
            names |= _names(name.removeprefix("module."), value.detach().cpu().numpy())
    return with_names(with_state(mod, kept), names)


def _exported(model, example_inputs: tuple | None):
    import torch

    if example_inputs is None:
        raise InputError(
            f"{type(model).__name__} is an nn.Module: pass example_inputs=(tensor, ...), "
            "their shapes are compiled in"
        )
    try:
        with torch.no_grad():
            return torch.export.export(model.eval(), tuple(example_inputs))
    except Exception as error:
        raise InputError(f"torch.export failed: {str(error).splitlines()[0]}") from error


def _prepared(program) -> tuple:
    """Return a program of core ATen operators in fp32, with its state, and what that is."""
    from .fp32 import in_fp32

    program = program.run_decompositions()
    # The dictionaries are the caller's program's too.
    program._constants, program._state_dict = dict(program.constants), dict(program.state_dict)
    in_fp32(program)
    kept: list[Kept] = carry_state(program)
    targets = {spec.target for spec in program.graph_signature.input_specs}
    for name in set(program.constants) - targets:
        # TVM's importer would bind what no input is for to another input.
        del program.constants[name]
    parameters = program.graph_signature.inputs_to_parameters
    for node in program.graph.find_nodes(op="placeholder"):
        if (name := parameters.get(node.name)) is not None:
            node.meta[NAME] = name
            node.meta[VALUE] = program.state_dict[name].detach().cpu().numpy()
    return program, kept


def _imported(program) -> tvm.IRModule:
    from tvm.relax.frontend.torch import from_exported_program

    try:
        return from_exported_program(
            program, custom_convert_map=dict(CONVERTERS), run_ep_decomposition=False
        )
    except MicroscopiqError:
        raise
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnsupportedError(f"TVM can't import the exported program: {first}") from error


def _names(name: str, value: np.ndarray) -> dict[str, str]:
    """Return a parameter's name by digest, and those of the matrices in a stack of them."""
    found = {digest(value): name}
    if value.ndim == 3:
        found |= {digest(matrix): f"{name}.{at}" for at, matrix in enumerate(value)}
    return found
