"""The quantizer interface and its registry: ``(out, in)`` fp32 weights to machine weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...target.errors import ConfigError, InputError, unknown_name
from ...target.packing import QuantizedWeight
from .statistics import Statistics

Method = Callable[[np.ndarray, str], tuple[QuantizedWeight, dict[str, int]]]
"""Takes float32 ``(out, in)`` and a format name; returns the weight and event counts."""


@dataclass(frozen=True)
class _Entry:
    quantize: Method
    formats: tuple[str, ...]


METHODS: dict[str, _Entry] = {}


def method(name: str, formats: tuple[str, ...]):
    """Register a quantization algorithm under its published name."""

    def register(function: Method) -> Method:
        METHODS[name] = _Entry(function, formats)
        return function

    return register


def quantize_weight(
    name: str,
    weight: np.ndarray,
    format_name: str,
    layer: str,
    *,
    statistics: Statistics | None = None,
) -> tuple[QuantizedWeight, dict[str, int]]:
    """Quantize one matrix with a registered method.

    Parameters
    ----------
    name : str
        Method.
    weight : numpy.ndarray
        float32 ``(out, in)``.
    format_name : str
        Row of `target.formats.WEIGHT_FORMATS`.
    layer : str
        Name for messages.
    statistics : Statistics, optional
        Of the rows that the matrix multiplies.

    Raises
    ------
    ConfigError
        For an unknown method or a format that it doesn't produce.
    InputError
        For NaN or Inf in the weights.
    """
    if name not in METHODS:
        raise ConfigError(unknown_name("quantization method", name, METHODS))
    entry = METHODS[name]
    if format_name not in entry.formats:
        raise ConfigError(
            f"method '{name}' has no format '{format_name}' (allowed: {', '.join(entry.formats)})"
        )
    check_finite(weight, "weight", layer)
    return entry.quantize(np.ascontiguousarray(weight, np.float32), format_name)


def check_finite(values: np.ndarray, what: str, layer: str) -> None:
    """Raise InputError for NaN or Inf, naming the layer and the first place."""
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        several = what + ("es" if what.endswith("s") else "s")
        raise InputError(
            f"layer '{layer}': {what}[{', '.join(map(str, where))}] is {values[where]}; "
            f"{int((~finite).sum())} of {values.size} {several} are not finite, all must be"
        )
