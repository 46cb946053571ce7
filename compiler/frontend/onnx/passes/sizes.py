"""Sizes of a model's inputs: what the user gives, what can be assumed, and what is missing."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from .....target.errors import ConfigError, InputError, UnsupportedError, unknown_name

Shapes = Mapping[str, Sequence[int | str]]
"""By input: a number for each size, or the name of one that a call decides."""
COUNTED = re.compile(r"unk_+\d+|(p2o\.)?DynamicDimension\.\d+")
"""Symbols that exporters count through, a new one for each size that they don't know: unlike other
symbols they don't say that two sizes differ."""


@dataclass(frozen=True)
class Given:
    """What the user says about a model's inputs.

    Attributes
    ----------
    shapes : mapping of str to sequence of int
        Shape by input name.
    values : mapping of str to array
        Inputs that are constants from now on, such as a sample rate.
    largest : mapping of str to int
        Bounds of sizes that a call decides, by the name that the model or `shapes` gives them.
    """

    shapes: Shapes = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)


def bind_inputs(model: onnx.ModelProto, given: Given) -> onnx.ModelProto:
    """Give each input its sizes, but for those that a call decides.

    Raises
    ------
    ConfigError
        For a name, a rank or a size that doesn't fit the model.
    InputError
        For a size that nobody gives.
    UnsupportedError
        For an input that is no tensor.
    """
    names = [value.name for value in model.graph.input]
    for what, chosen in (("input_shapes", given.shapes), ("input_values", given.values)):
        for name in chosen:
            if name not in names:
                raise ConfigError(f"{what}: {unknown_name('input', name, names)}")
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    _make_constants(bound.graph, given.values)
    symbols: dict[str, int | str] = {}
    for value in bound.graph.input:
        if value.name in given.shapes:
            _bind(value, given.shapes[value.name], symbols)
    for value in bound.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                _write(dim, symbols[dim.dim_param])
    _check_bounds(bound.graph.input, given)
    # A size of 0 is one if somebody gives it.
    open_inputs = [value for value in bound.graph.input if value.name not in given.shapes]
    open_inputs = [value for value in open_inputs if not _is_bounded(value, given.largest)]
    _one_as_batch(open_inputs)
    _refuse_unknown(open_inputs)
    return bound


def _make_constants(graph: onnx.GraphProto, values: Mapping[str, object]) -> None:
    kept = []
    for value in graph.input:
        if value.name not in values:
            kept.append(value)
            continue
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        array = np.asarray(values[value.name]).astype(dtype)
        declared = _sizes(value)
        if declared is not None and len(declared) == 1 and array.ndim == 0:
            array = array.reshape(1)
        if declared is not None and not _fits(array.shape, declared):
            raise ConfigError(
                f"input_values: {value.name} has shape {_text(value)}, the value {array.shape}"
            )
        graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del graph.input[:]
    graph.input.extend(kept)


def _fits(shape: Sequence[int], declared: Sequence[int | None]) -> bool:
    return len(shape) == len(declared) and all(
        size in (None, given) for size, given in zip(declared, shape, strict=True)
    )


def _write(dim, size: int | str) -> None:
    """Write a size into a dimension, or its name."""
    if isinstance(size, str):
        dim.dim_param = size
    else:
        dim.dim_value = size


def _check_bounds(inputs: Sequence[onnx.ValueInfoProto], given: Given) -> None:
    """Raise ConfigError for a bound of no open size, and a size that is named but has no bound."""
    names = {dim.dim_param for value in inputs for dim in value.type.tensor_type.shape.dim} - {""}
    for name, most in given.largest.items():
        if name not in names:
            raise ConfigError(
                f"max_sizes: {unknown_name('size', name, names)}; input_shapes can name one"
            )
        if most < 1:
            raise ConfigError(f"max_sizes: {name} = {most}; allowed: 1 or more")
    for name, shape in given.shapes.items():
        for size in shape:
            if isinstance(size, str) and size not in given.largest:
                raise ConfigError(
                    f"input_shapes: '{size}' of {name} needs a bound: --max-size {size}=N, or "
                    "max_sizes"
                )


def _is_bounded(value: onnx.ValueInfoProto, largest: Mapping[str, int]) -> bool:
    """Tell whether a call decides sizes of an input, and bounds are there for all that are open."""
    dims = value.type.tensor_type.shape.dim
    known = all(dim.dim_value > 0 or dim.dim_param in largest for dim in dims)
    return known and any(dim.dim_param in largest for dim in dims)


def _bind(
    value: onnx.ValueInfoProto, shape: Sequence[int | str], symbols: dict[str, int | str]
) -> None:
    """Write a shape into an input, and into `symbols` what its names stand for now."""
    declared = _sizes(value)
    if any(isinstance(size, int) and size < 0 for size in shape):
        raise ConfigError(f"input_shapes: {value.name}: {list(shape)} has a negative size")
    if declared is not None and len(declared) != len(shape):
        raise ConfigError(
            f"input_shapes: {value.name} has {len(declared)} dimension(s), {_text(value)}; "
            f"given are {len(shape)}: {list(shape)}"
        )
    for axis, size in enumerate(declared or ()):
        if size not in (None, shape[axis]):
            raise ConfigError(
                f"input_shapes: {value.name} is {_text(value)}: its dimension {axis} is "
                f"{size}, not {shape[axis]}"
            )
        symbol = value.type.tensor_type.shape.dim[axis].dim_param
        if symbol and symbols.setdefault(symbol, shape[axis]) != shape[axis]:
            raise ConfigError(
                f"input_shapes: '{symbol}' is {symbols[symbol]} in one input and "
                f"{shape[axis]} in {value.name}"
            )
    del value.type.tensor_type.shape.dim[:]
    # An empty shape is one too: that of a scalar.
    value.type.tensor_type.shape.SetInParent()
    for given in shape:
        _write(value.type.tensor_type.shape.dim.add(), given)


def _one_as_batch(inputs: Sequence[onnx.ValueInfoProto]) -> None:
    """Make a batch 1 where nothing else is unknown."""
    unknown = [
        (value.name, axis, value.type.tensor_type.shape.dim[axis].dim_param)
        for value in inputs
        for axis, size in enumerate(_sizes(value) or ())
        if size is None
    ]
    if not unknown or any(axis for _, axis, _ in unknown) or _without_rank(inputs):
        return
    if len({COUNTED.sub("", symbol) for _, _, symbol in unknown}) > 1:
        return
    for value in inputs:
        if value.name in {name for name, _, _ in unknown}:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    name, _, symbol = unknown[0]
    shape = _option(next(value for value in inputs if value.name == name))
    warnings.warn(
        f"the batch{f' ({symbol})' if symbol else ''} has no size in the model and is taken as 1; "
        f"--input-shape {shape.replace('=1,', '=N,', 1)} or input_shapes chooses another",
        stacklevel=2,
    )


def _refuse_unknown(values: Sequence[onnx.ValueInfoProto]) -> None:
    lacking = [value for value in values if _sizes(value) is None or None in (_sizes(value) or ())]
    if not lacking:
        return
    others = [value for value in lacking if not value.type.HasField("tensor_type")]
    if others:
        kinds = [
            f"'{value.name}' is of {(value.type.WhichOneof('value') or '?').removesuffix('_type')}"
            for value in others
        ]
        raise UnsupportedError(
            f"the model's input {', '.join(kinds)}; programs take and give tensors of numbers"
        )
    inputs = ", ".join(f"{value.name} {_text(value)}" for value in lacking)
    options = " ".join(f"--input-shape {_option(value)}" for value in lacking)
    named = [dim.dim_param for value in lacking for dim in value.type.tensor_type.shape.dim]
    bounds = " ".join(f"--max-size {name}=N" for name in dict.fromkeys(filter(None, named)))
    raise InputError(
        f"the model leaves sizes of its inputs open: {inputs}; give them by {options} "
        "(input_shapes={...} of load_model), with numbers for the letters"
        + (f", or a bound for all up to it by {bounds} (max_sizes={{...}})" if bounds else "")
    )


def _without_rank(inputs: Sequence[onnx.ValueInfoProto]) -> bool:
    return any(_sizes(value) is None for value in inputs)


def _sizes(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Return the sizes that an input declares, None for one left open; None without a rank."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    # Some exporters write 0 or -1 for a size that they don't know.
    return [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]


def _text(value: onnx.ValueInfoProto) -> str:
    if _sizes(value) is None:
        return "(of any rank)"
    dims = value.type.tensor_type.shape.dim
    return "[" + ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims) + "]"


def _option(value: onnx.ValueInfoProto) -> str:
    """Return an example of the option's value: sizes that are known, letters for the others."""
    sizes = _sizes(value)
    if sizes is None:
        return f"{value.name}=N,..."
    letters = iter("NMKLPQRS")
    return f"{value.name}=" + ",".join(
        str(size) if size is not None else next(letters, "N") for size in sizes
    )
