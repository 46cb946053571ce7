"""Calibration samples as a user gives them, checked and cut into calls of the model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from ...runtime.state import state_among
from ...target.errors import InputError

Call = tuple[np.ndarray, ...]
"""Arrays of one call of the model, in the order of its inputs."""


@dataclass(frozen=True)
class Input:
    """One input of a model; a dimension that isn't known while compiling is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.dtype}[{dims}]"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of a shape is one call's input."""
        if len(shape) != len(self.shape):
            return False
        return all(want in (None, dim) for want, dim in zip(self.shape, shape, strict=True))


def model_inputs(mod: tvm.IRModule, name: str) -> tuple[list[Input], list[Input]]:
    """Return a function's inputs that a caller gives, and those that are its state.

    Raises
    ------
    InputError
        As `function_inputs`.
    """
    inputs = function_inputs(mod[name])
    symbols = {gv.name_hint for gv in mod.functions}
    kept = state_among([one.name for one in inputs], symbols.__contains__)
    split = len(inputs) - len(kept)
    return inputs[:split], inputs[split:]


def function_inputs(function: relax.Function) -> list[Input]:
    """Return the inputs of a function.

    Raises
    ------
    InputError
        For an input that is no tensor of known rank.
    """
    inputs = []
    for param in function.params:
        shape = getattr(param.ty, "shape", None)
        if not isinstance(shape, relax.ShapeExpr):
            raise InputError(
                f"input '{param.name}' is no tensor of known rank ({param.ty}): "
                "calibration can't run the model"
            )
        dims = [getattr(dim, "value", None) for dim in shape.values]
        sizes = tuple(None if dim is None else int(dim) for dim in dims)
        inputs.append(Input(param.name, sizes, str(param.ty.dtype)))
    return inputs


def read_calls(samples: Any, inputs: list[Input]) -> list[Call]:
    """Return what the model is called with.

    All samples are copied: they are small beside the activations, several groups of layers may
    need them again, and an iterable may reuse its buffers.

    Parameters
    ----------
    samples : iterable, mapping or numpy.ndarray
        Each item is the array of a model with one input, a mapping of arrays by input name, or a
        sequence in the order of the inputs. An array may hold several calls: k times the first
        dimension, or one dimension more in front. A mapping or an array instead of an iterable is
        its only item.

    Raises
    ------
    InputError
        When there are none, or one doesn't fit the model.
    """
    if isinstance(samples, Mapping) or hasattr(samples, "dtype"):
        samples = [samples]
    if not isinstance(samples, Iterable) or isinstance(samples, str | bytes):
        raise InputError(
            f"calibration samples: given {type(samples).__name__}; allowed: an iterable of arrays, "
            "mappings by input name, or tuples in the order of the inputs"
        )
    calls: list[Call] = []
    for number, sample in enumerate(samples):
        where = f"calibration sample {number}"
        arrays = [
            _array(f"{where}, input '{want.name}'", value)
            for want, value in zip(inputs, _values(where, sample, inputs), strict=True)
        ]
        calls += _cut(where, arrays, inputs)
    if not calls:
        raise InputError("calibration samples: there are none, at least one is needed")
    return calls


def _values(where: str, sample, inputs: list[Input]) -> list:
    """Return the values of a sample in the order of the inputs."""
    names = [want.name for want in inputs]
    listed = ", ".join(names)
    if isinstance(sample, Mapping):
        if sample.keys() != set(names):
            raise InputError(
                f"{where}: has {', '.join(map(str, sample)) or 'nothing'}; the model's inputs are "
                f"{listed}"
            )
        return [sample[name] for name in names]
    values = list(sample) if isinstance(sample, tuple | list) else [sample]
    if len(values) != len(names):
        raise InputError(
            f"{where}: holds {len(values)} array(s); the model takes {len(names)} ({listed})"
        )
    return values


def _array(where: str, value) -> np.ndarray:
    """Return a copy of an array of numbers: NumPy's, torch's or TVM's."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "numpy"):
        value = value.numpy()
    if not isinstance(value, np.ndarray | np.generic):
        raise InputError(
            f"{where}: given {type(value).__name__}; allowed: numpy.ndarray, torch.Tensor, "
            "tvm.runtime.Tensor"
        )
    return np.array(value, order="C", copy=True)


def _cut(where: str, arrays: list[np.ndarray], inputs: list[Input]) -> list[Call]:
    """Return the calls that a sample's arrays hold."""
    columns = []
    for array, want in zip(arrays, inputs, strict=True):
        parts = _parts(array, want) if str(array.dtype) == want.dtype else None
        if parts is None:
            given = f"{array.dtype}{list(array.shape)}"
            more = ", or several of them along the first dimension" if want.shape else ""
            raise InputError(f"{where}, input '{want.name}': {want} is needed{more}; given {given}")
        columns.append(parts)
    counts = {want.name: len(parts) for want, parts in zip(inputs, columns, strict=True)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise InputError(f"{where}: its arrays hold different numbers of calls ({listed})")
    return list(zip(*columns, strict=True))


def _parts(array: np.ndarray, want: Input) -> list[np.ndarray] | None:
    """Return the single calls' inputs in an array, None if it holds none."""
    if want.takes(array.shape):
        return [array]
    if array.ndim == len(want.shape) + 1 and want.takes(array.shape[1:]):
        return list(array)
    first = want.shape[0] if want.shape else None
    if not first or array.ndim != len(want.shape) or not want.takes((first, *array.shape[1:])):
        return None
    count, rest = divmod(len(array), first)
    return None if rest else np.split(array, count) if count else None
