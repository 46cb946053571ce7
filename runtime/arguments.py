"""Values on their way into a compiled model and out of it."""

import re

import numpy as np

from ..target.errors import InputError, last_line


def tensor(name: str, value):
    """Return an input as TVM takes it: a NumPy or torch array, a number, or a TVM tensor.

    Types that NumPy has from ml_dtypes, such as bfloat16, stay what they are.

    Raises
    ------
    InputError
        For anything else, and for arrays of other things than numbers.
    """
    import tvm

    if hasattr(value, "detach"):
        value = _of_torch(value.detach().cpu())
    if isinstance(value, np.ndarray) or np.isscalar(value):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" and array.dtype.type.__module__ != "ml_dtypes":
            raise InputError(f"input '{name}': numbers are needed, given an array of {array.dtype}")
        return tvm.runtime.tensor(np.ascontiguousarray(array).reshape(array.shape))
    if not hasattr(value, "dtype"):
        raise InputError(
            f"input '{name}': given {type(value).__name__}; allowed: numpy.ndarray, torch.Tensor, "
            "tvm.runtime.Tensor"
        )
    return value


def _of_torch(value) -> np.ndarray:
    """Return a torch tensor's values, as ml_dtypes has them where NumPy has no such type."""
    name = str(value.dtype).removeprefix("torch.")
    if name != "bfloat16" and not name.startswith("float8"):
        return value.resolve_neg().resolve_conj().numpy()
    import ml_dtypes
    import torch

    integers = {1: torch.uint8, 2: torch.int16}[value.element_size()]
    return value.contiguous().view(integers).numpy().view(getattr(ml_dtypes, name))


def type_text(tensor) -> str:
    """Return dtype and shape, such as ``float32[2, 3]``."""
    return f"{tensor.dtype}{list(map(int, tensor.shape))}"


_ANNOTATION = re.compile(r'param=([^,]+), annotation=R\.Tensor\(\((.*?),?\), dtype="(\w+)"\)')


def refusal(error: Exception, given: dict[str, str]) -> str:
    """Return TVM's complaint about an input in our words, in its own when it's another one."""
    found = _ANNOTATION.search(str(error))
    if found and found[1] in given:
        name, shape, dtype = found.groups()
        return f"input '{name}' must be {dtype}[{shape}]; given {given[name]}"
    return f"refused its inputs ({', '.join(given.values())}): {last_line(error)}"


NARROW = ("float16", "bfloat16", "float8")
"""What floats of few bits begin with, whose numbers are all in float32."""


def widened(error: Exception, tensors: dict) -> dict | None:
    """Return the inputs with the one that was refused as float32, None if that mends nothing.

    A model of half precision is compiled in fp32, and its inputs arrive as they did before.
    """
    import tvm

    found = _ANNOTATION.search(str(error))
    if not found or found[3] != "float32" or found[1] not in tensors:
        return None
    given = tensors[found[1]]
    if not str(given.dtype).startswith(NARROW):
        return None
    return {**tensors, found[1]: tvm.runtime.tensor(given.numpy().astype(np.float32))}


def arrays(outputs) -> list[np.ndarray]:
    """Return a tensor, or the leaves of nested tuples, as arrays."""
    if hasattr(outputs, "numpy"):
        return [outputs.numpy()]
    return [array for item in outputs for array in arrays(item)]
