"""What the functions of `target.functions` give, in slow NumPy and step by step.

Each step is an operation on arrays of float32, or of the int32 of their bits; nothing is fused,
reordered or computed in more bits than the machine has.
"""

from collections.abc import Callable

import numpy as np

from ....target.functions import FUNCTIONS
from . import exact, exponential, logarithm, trigonometric

_RENAMED: dict[str, Callable] = {
    "min": exact.minimum,
    "max": exact.maximum,
    "float32_to_int32": exact.to_int32,
    "float32_to_int8": exact.to_int8,
    "float32_to_bool": exact.to_bool,
    "int32_to_float32": exact.to_float32,
    "int8_to_float32": exact.to_float32,
    "bool_to_float32": exact.to_float32,
    "int32_to_int8": exact.lowest_byte,
}


def apply_function(name: str, *inputs: np.ndarray) -> np.ndarray:
    """Return what a function of `target.functions.FUNCTIONS` gives, element by element.

    Parameters
    ----------
    name : str
        Of the table.
    inputs : numpy.ndarray
        As many as the table says, of its types and of one shape.
    """
    with np.errstate(all="ignore"):
        return _function(name)(*inputs)


def _function(name: str) -> Callable:
    if name in _RENAMED:
        return _RENAMED[name]
    modules = (exact, exponential, logarithm, trigonometric)
    assert name in FUNCTIONS, name
    return next(getattr(module, name) for module in modules if hasattr(module, name))
