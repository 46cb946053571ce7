"""PyTorch models: an exported program, or a module with example inputs."""

import difflib
from collections.abc import Callable

import numpy as np
import tvm

from ....target.errors import InputError, MicroscopiqError, UnsupportedError, last_line
from ...names import digest, with_names
from ..check import HALF_DB, LEAST_DB, check_import
from .beside import source_case
from .converters import CONVERTERS
from .converters.registry import NAME, VALUE
from .fp32 import HALVES, in_fp32
from .state import Kept, carry_state, with_state


def load_torch(model, example_inputs: tuple | None = None, check: bool = False) -> tvm.IRModule:
    """Return the Relax module of a `torch.export.ExportedProgram` or an `nn.Module`.

    What the model changes, buffers and parameters, is its state (`runtime.state`). Models of half
    precision compute in fp32.

    Parameters
    ----------
    model : torch.export.ExportedProgram or torch.nn.Module
    example_inputs : tuple of torch.Tensor, optional
        Needed for a module: their shapes become the compiled shapes.
    check : bool
        Run the fp32 module beside the program, on its example inputs.

    Raises
    ------
    InputError
        For a module without example inputs, or one that torch can't export; with `check`, for one
        that computes something else.
    UnsupportedError
        For an operator that can't be imported, and for a model that changes its inputs.
    """
    import torch  # heavy and optional: only this frontend loads it

    source = _exported(model, example_inputs) if isinstance(model, torch.nn.Module) else model
    with torch.no_grad():
        program, kept = _prepared(source)
        mod = _imported(program)
    names: dict[str, list[str]] = {}
    for name, value in program.state_dict.items():
        if value.dtype == torch.float32:
            for key, found in _names(name.removeprefix("module."), value.detach().cpu().numpy()):
                names.setdefault(key, []).append(found)
    mod = with_names(with_state(mod, kept), names)
    if check:
        halves = {str(value.dtype) for value in source.state_dict.values()} & set(HALVES)
        check_import(mod, *source_case(source), "torch", HALF_DB if halves else LEAST_DB)
    return mod


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
    program = program.run_decompositions()
    # The dictionaries are the caller's program's too.
    program._constants, program._state_dict = dict(program.constants), dict(program.state_dict)
    in_fp32(program)
    kept: list[Kept] = carry_state(program)
    targets = {spec.target for spec in program.graph_signature.input_specs}
    for name in set(program.constants) - targets:
        # TVM's importer would bind what no input is for to another input.
        del program.constants[name]
    values = {**program.state_dict, **program.constants}
    constants = {
        spec.arg.name: spec.target
        for spec in program.graph_signature.input_specs
        if spec.target in values
    }
    for node in program.graph.find_nodes(op="placeholder"):
        if (name := constants.get(node.name)) is not None:
            node.meta[NAME] = name
            node.meta[VALUE] = values[name].detach().cpu().numpy()
    return program, kept


def _imported(program) -> tvm.IRModule:
    """Return the module of a prepared program, by TVM's importer with our converters in front."""
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    importer = ExportedProgramImporter()
    _refuse_unknown(program, {*importer.convert_map, *CONVERTERS})
    importer.convert_map = {name: _named(each) for name, each in importer.convert_map.items()}
    ours = {name: _named(each) for name, each in CONVERTERS.items()}
    try:
        return importer.from_exported_program(program, False, False, False, ours)
    except MicroscopiqError:
        raise
    except Exception as error:
        raise UnsupportedError(
            f"TVM can't import the exported program: {last_line(error)}"
        ) from error


def _named(convert: Callable) -> Callable:
    """Return a converter whose errors name the node."""

    def converted(node, *importer):
        try:
            return convert(node, *importer)
        except MicroscopiqError:
            raise
        except Exception as error:
            raise UnsupportedError(
                f"{node.target} (node '{node.name}'): TVM can't import it: {last_line(error)}"
            ) from error

    return converted


def _refuse_unknown(program, known: set[str]) -> None:
    """Raise UnsupportedError with all operators that have no converter, TVM's or ours."""
    found: dict[str, list[str]] = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target.__name__ not in known:
            found.setdefault(node.target.__name__, []).append(node.name)
    if found:
        listed = [
            f"{name}: {len(nodes)} node(s), the first '{nodes[0]}'" + _near_names(name, known)
            for name, nodes in found.items()
        ]
        raise UnsupportedError(
            f"{len(found)} operator(s) of the exported program can't be imported:\n  "
            + "\n  ".join(listed)
        )


def _near_names(name: str, known: set[str]) -> str:
    """Return which operators with a converter are called nearly so, empty if none are."""
    near = difflib.get_close_matches(name, sorted(known), n=2, cutoff=0.75)
    return f" (there is {' and '.join(near)})" if near else ""


def _names(name: str, value: np.ndarray) -> list[tuple[str, str]]:
    """Return digest and name of a parameter, and of the matrices in a stack of them."""
    stacked = enumerate(value) if value.ndim == 3 else ()
    return [(digest(value), name), *((digest(one), f"{name}.{at}") for at, one in stacked)]
