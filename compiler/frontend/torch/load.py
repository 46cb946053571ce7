"""PyTorch models: an exported program, or a module with example inputs."""

import tvm

from ....target.errors import InputError, UnsupportedError
from ...names import digest, with_names
from .converters import CONVERTERS
from .state import carry_state, with_state


def load_torch(model, example_inputs: tuple | None = None) -> tvm.IRModule:
    """Return the Relax module of a `torch.export.ExportedProgram` or an `nn.Module`.

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
        For an operator that TVM can't import.
    """
    import torch  # heavy and optional: only this frontend loads it
    from tvm.relax.frontend.torch import from_exported_program

    if isinstance(model, torch.nn.Module):
        if example_inputs is None:
            raise InputError(
                f"{type(model).__name__} is an nn.Module: pass example_inputs=(tensor, ...), "
                "their shapes are compiled in"
            )
        try:
            with torch.no_grad():
                model = torch.export.export(model.eval(), tuple(example_inputs))
        except Exception as error:
            raise InputError(f"torch.export failed: {str(error).splitlines()[0]}") from error
    try:
        with torch.no_grad():
            model = model.run_decompositions()
            kept = carry_state(model)
            mod = from_exported_program(
                model, custom_convert_map=CONVERTERS or None, run_ep_decomposition=False
            )
    except (AssertionError, NotImplementedError, ValueError, KeyError, TypeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnsupportedError(f"TVM can't import the exported program: {first}") from error
    names = {
        digest(value.detach().cpu().numpy()): name.removeprefix("module.")
        for name, value in model.state_dict.items()
        if value.dtype == torch.float32
    }
    return with_names(with_state(mod, kept), names)
