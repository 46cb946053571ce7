"""The quantizer interface and its registry: ``(out, in)`` fp32 weights to machine weights."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import numpy as np

from ...target.errors import ConfigError, InputError, unknown_name
from ...target.formats import WEIGHT_FORMATS
from ...target.packing import bits_per_weight, pack
from ...target.weight import QuantizedWeight, dequantize
from .host_formats import STUDY_FORMATS, StudyWeight
from .reach import check_reach
from .statistics import Statistics

Method = Callable[..., tuple[QuantizedWeight | StudyWeight, dict]]
"""Takes float32 ``(out, in)``, a format name, statistics of the inputs or None and its options;
returns the weight, and what it counted on the way."""
GRID_FORMATS = (*(name for name, row in WEIGHT_FORMATS.items() if row.alone), *STUDY_FORMATS)
"""Formats whose input channels can be rounded one by one, so that any method can use them."""

TYPE_WORDS = {bool: "true or false", float: "a number", int: "an integer", str: "a text"}
"""What messages call the types of options."""


@dataclass(frozen=True)
class Entry:
    """A row of the registry.

    Attributes
    ----------
    options : type
        Dataclass of what can be chosen, with defaults; it refuses what makes no sense.
    needs_statistics : bool
        Without calibration data the method can't do anything.
    """

    quantize: Method
    formats: tuple[str, ...]
    options: type
    needs_statistics: bool


METHODS: dict[str, Entry] = {}


def method(name: str, formats: tuple[str, ...], options: type, needs_statistics: bool = False):
    """Register a quantization algorithm under its published name."""

    def register(function: Method) -> Method:
        METHODS[name] = Entry(function, formats, options, needs_statistics)
        return function

    return register


def method_options(name: str, values: dict):
    """Return a method's options with the given values.

    Raises
    ------
    ConfigError
        For an option that the method doesn't have or a value that it doesn't allow.
    """
    kind = METHODS[name].options
    known = [field.name for field in dataclasses.fields(kind)]
    types = get_type_hints(kind)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"method '{name}': {unknown_name('option', key, known)}")
        allowed = get_args(types[key]) or (types[key],)
        if not _is_one_of(value, allowed):
            needed = " or ".join(TYPE_WORDS[each] for each in allowed)
            raise ConfigError(f"method '{name}': {key} = {value!r}: {needed} is needed")
    return kind(**values)


def _is_one_of(value, types: tuple[type, ...]) -> bool:
    """Tell whether a value has one of some types; an integer is a number, True is none."""
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (isinstance(value, int) and float in types)


def quantize_weight(
    name: str,
    weight: np.ndarray,
    format_name: str,
    layer: str,
    statistics: Statistics | None = None,
    options: dict | None = None,
) -> tuple[Any, dict]:
    """Quantize one matrix with a registered method.

    Parameters
    ----------
    name : str
        Method.
    weight : numpy.ndarray
        float32 ``(out, in)``.
    format_name : str
        Row of `target.formats.WEIGHT_FORMATS` or, for comparison, of `STUDY_FORMATS`.
    layer : str
        Name for messages.
    statistics : Statistics, optional
        Of the rows that the matrix multiplies.
    options : dict, optional
        What is not to be the method's default.

    Returns
    -------
    weight : QuantizedWeight or StudyWeight
        What the machine loads; of a study format what a host computes with.
    counts : dict
        What the method counted on the way.

    Raises
    ------
    ConfigError
        For an unknown method, a format that it doesn't produce, a wrong option, or a method that
        needs statistics and has none.
    InputError
        For NaN or Inf in the weights, and for weights beyond the format's largest scale.
    """
    if name not in METHODS:
        raise ConfigError(unknown_name("quantization method", name, METHODS))
    entry = METHODS[name]
    if format_name not in entry.formats:
        raise ConfigError(
            f"method '{name}' has no format '{format_name}' (allowed: {', '.join(entry.formats)})"
        )
    if entry.needs_statistics and statistics is None:
        raise ConfigError(
            f"layer '{layer}': method '{name}' needs calibration data: give `calibration` some "
            "inputs of the model, or take a recipe whose method needs none"
        )
    check_finite(weight, "weight", layer)
    check_reach(weight, format_name, layer)
    matrix = np.ascontiguousarray(weight, np.float32)
    chosen = method_options(name, options or {})
    return entry.quantize(matrix, format_name, statistics, chosen)


def values_of(weight: QuantizedWeight | StudyWeight) -> np.ndarray:
    """Return the float32 ``(out, in)`` that is computed with."""
    return weight.values if isinstance(weight, StudyWeight) else dequantize(weight)


def bits_of(weight: QuantizedWeight | StudyWeight) -> float:
    """Return bits per weight: of the packed bytes, of a format for comparison as defined."""
    if isinstance(weight, StudyWeight):
        return weight.bits
    return bits_per_weight(pack([weight]), weight.slots.size)


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
