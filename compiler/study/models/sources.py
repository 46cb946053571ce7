"""Where rows come from: registered architectures through both exporters, and ONNX files."""

import contextlib
import io
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from ....target.errors import ConfigError, InputError, unknown_name
from ...frontend.check import random_inputs
from ...frontend.load import load_model
from ...frontend.onnx.beside import source_outputs
from ...frontend.torch.beside import source_case
from .registry import Architecture, architectures
from .run import Imported, Source

SEED = 0
FORMS = ("torch", "onnx", "file")
"""How a model comes in: through `torch.export`, through torch's ONNX exporter, as a file."""


def sources(
    only: Iterable[str] | None, onnx_folder: Path | None, form: str | None = None
) -> list[Source]:
    """Return the rows of the matrix in order.

    Parameters
    ----------
    only : iterable of str, optional
        Names of architectures, or of files in the folder without suffix.
    onnx_folder : Path, optional
        Each .onnx file in it, and in folders below, is a row.
    form : str, optional
        One of `FORMS` alone.

    Raises
    ------
    ConfigError
        For a name or a form that nothing has, and for a folder without models.
    """
    if form is not None and form not in FORMS:
        raise ConfigError(unknown_name("form of a model", form, FORMS))
    found: list[Source] = []
    for one in architectures().values():
        found.append(Source(one.name, "torch", partial(_from_torch, one)))
        if one.onnx:
            found.append(Source(one.name, "onnx", partial(_from_onnx, one)))
    if onnx_folder is not None:
        files = sorted(onnx_folder.rglob("*.onnx"))
        if not files:
            raise ConfigError(f"no .onnx file in {onnx_folder}")
        found += [Source(path.stem, "file", partial(_from_file, path)) for path in files]
    found = [source for source in found if form in (None, source.form)]
    if only is None:
        return found
    names = {source.name for source in found}
    for name in only:
        if name not in names:
            raise ConfigError(unknown_name("model", name, names))
    return [source for source in found if source.name in set(only)]


def _made(architecture: Architecture) -> tuple:
    import torch

    torch.manual_seed(SEED)
    model, inputs = architecture.make()
    return model.eval() if isinstance(model, torch.nn.Module) else model, inputs


def _from_torch(architecture: Architecture) -> Imported:
    import torch

    model, inputs = _made(architecture)
    with torch.no_grad():
        if isinstance(model, torch.nn.Module):
            model = torch.export.export(model, inputs)
        return Imported(load_model(model), *source_case(model))


def _from_onnx(architecture: Architecture) -> Imported:
    import torch

    model, inputs = _made(architecture)
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        try:
            exported = torch.onnx.export(model, inputs, dynamo=True, verbose=False)
        except torch.onnx.errors.OnnxExporterError as error:
            raise InputError(f"torch can't write it as ONNX: {_cause(error)}") from error
        expected = _arrays(model(*inputs))
    return Imported(load_model(exported.model_proto), _arrays(inputs), expected)


def _cause(error: BaseException) -> str:
    """Return what an exporter's error goes back to, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0]


def _from_file(path: Path) -> Imported:
    mod = load_model(path)
    inputs = random_inputs(mod)
    return Imported(mod, list(inputs.values()), _arrays(source_outputs(path, inputs)))


def _arrays(values) -> list[np.ndarray]:
    """Return the tensors in nested results as arrays, in order."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return [(values.float() if str(values.dtype) in _HALVES else values).numpy().copy()]
    if isinstance(values, np.ndarray):
        return [values]
    if hasattr(values, "values"):
        values = values.values()
    return [] if values is None else [array for one in values for array in _arrays(one)]


_HALVES = ("torch.float16", "torch.bfloat16")
