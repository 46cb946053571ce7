"""Resize and Upsample: along each axis a few entries of the input, by weights known in advance."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tvm import relax

from .....target.errors import UnsupportedError, unknown_name
from . import converter
from .values import const, constant, dtype_of, given, rank_of, shape_of, text

F32 = np.float32


class Axis(NamedTuple):
    """An axis on its way: its sizes, their ratio, and the part of it that is looked at."""

    size: int
    wanted: int
    scale: np.float32
    start: float = 0.0
    end: float = 1.0


def _half_pixel(i, axis: Axis):
    return (i + F32(0.5)) / axis.scale - F32(0.5)


def _symmetric(i, axis: Axis):
    share = axis.wanted / (float(axis.scale) * axis.size)
    return F32(axis.size / 2 * (1 - share)) + _half_pixel(i, axis)


def _pytorch(i, axis: Axis):
    return _half_pixel(i, axis) if axis.wanted > 1 else i * F32(0)


def _corners(i, axis: Axis):
    return i * F32(axis.size - 1) / F32(axis.wanted - 1) if axis.wanted > 1 else i * F32(0)


def _crop(i, axis: Axis):
    last = axis.size - 1
    if axis.wanted == 1:
        return i * F32(0) + F32(0.5 * (axis.start + axis.end) * last)
    step = F32((axis.end - axis.start) * last) / F32(axis.wanted - 1)
    return F32(axis.start * last) + i * step


COORDINATES: dict[str, Callable] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": _pytorch,
    "align_corners": _corners,
    "asymmetric": lambda i, axis: i / axis.scale,
    "tf_half_pixel_for_nn": lambda i, axis: (i + F32(0.5)) / axis.scale,
    "tf_crop_and_resize": _crop,
}
"""Where a result's entry lies in the input, in fp32 as ONNX Runtime computes it."""
ROUNDING: dict[str, Callable] = {
    "round_prefer_floor": lambda x: np.ceil(x - F32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + F32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _linear(distance, _a):
    return np.clip(1 - np.abs(distance), 0, None)


def _cubic(distance, a):
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


FILTERS = {"linear": (_linear, 1), "cubic": (_cubic, 2)}
"""Weight by distance, and how far it reaches."""


def taps(axis: Axis, x: np.ndarray, mode: str, attributes: dict[str, Any]):
    """Return indices and weights of the entries that make up each of an axis's results.

    Returns
    -------
    indices : numpy.ndarray
        int64 ``(taps, wanted)``.
    weights : numpy.ndarray
        float64 of that shape.
    """
    if mode == "nearest":
        name = text(attributes, "nearest_mode", "round_prefer_floor")
        if name not in ROUNDING:
            raise UnsupportedError(f"Resize: {unknown_name('nearest_mode', name, ROUNDING)}")
        index = np.clip(ROUNDING[name](x), 0, axis.size - 1).astype(np.int64)
        return index[None], np.ones((1, axis.wanted))
    weight, reach = FILTERS[mode]
    exact = x.astype(np.float64)
    scale = min(float(axis.scale), 1.0) if attributes.get("antialias") else 1.0
    first = math.floor(-reach / scale) + 1
    base = np.ceil(exact) - 1
    places = (
        base + np.arange(first, 2 - first)[:, None]
        if reach == 1
        else (base + np.arange(first, 1 - first + 1)[:, None])
    )
    weights = weight((places - exact) * scale, attributes.get("cubic_coeff_a", -0.75))
    if attributes.get("exclude_outside"):
        weights = np.where((places < 0) | (places > axis.size - 1), 0, weights)
    weights = weights / weights.sum(0)
    return np.clip(places, 0, axis.size - 1).astype(np.int64), weights


def _resized(builder, x, number: int, axis: Axis, mode: str, attributes: dict[str, Any]):
    """Return a tensor with one axis resized."""
    name = text(attributes, "coordinate_transformation_mode", "half_pixel")
    if name not in COORDINATES:
        raise UnsupportedError(
            f"Resize: {unknown_name('coordinate_transformation_mode', name, COORDINATES)}"
        )
    place = COORDINATES[name](np.arange(axis.wanted, dtype=F32), axis).astype(F32)
    indices, weights = taps(axis, place, mode, attributes)
    rank, dtype = rank_of(x), dtype_of(x)
    shape = [-1 if each == number else 1 for each in range(rank)]
    result = None
    for index, weight in zip(indices, weights, strict=True):
        if not weight.any():
            continue
        part = builder.emit(relax.op.take(x, const(index, "int64"), axis=number))
        if not (weight == 1).all():
            part = builder.emit(relax.op.multiply(part, const(weight.reshape(shape), dtype)))
        result = part if result is None else builder.emit(relax.op.add(result, part))
    outside = (place < 0) | (place > axis.size - 1)
    if name == "tf_crop_and_resize" and outside.any():
        value = const(attributes.get("extrapolation_value", 0.0), dtype)
        result = builder.emit(relax.op.where(const(outside.reshape(shape), "bool"), value, result))
    return result


def _axes(shape, inputs, attributes: dict[str, Any]) -> dict[int, Axis]:
    """Return the axes that are resized, by number."""
    numbers = [n % len(shape) for n in attributes.get("axes", range(len(shape)))]
    roi, scales, sizes = (
        None if (expr := given(inputs, n)) is None else constant(expr, "Resize", what)
        for n, what in ((1, "roi"), (2, "scales"), (3, "sizes"))
    )
    if roi is None or not roi.size:
        roi = np.array([0.0] * len(numbers) + [1.0] * len(numbers))
    if scales is not None and scales.size:
        ratios = [F32(scale) for scale in scales]
        wanted = [math.floor(float(r) * shape[n]) for r, n in zip(ratios, numbers, strict=True)]
    elif sizes is not None:
        wanted = [int(size) for size in sizes]
        ratios = [F32(w) / F32(shape[n]) for w, n in zip(wanted, numbers, strict=True)]
        policy = text(attributes, "keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(numbers)
            wanted = [math.floor(float(ratio) * shape[n] + 0.5) for n in numbers]
    else:
        raise UnsupportedError("Resize: it has neither scales nor sizes")
    return {
        n: Axis(shape[n], wanted[at], ratios[at], roi[at], roi[at + len(numbers)])
        for at, n in enumerate(numbers)
    }


@converter("Resize")
def _resize(builder, inputs, attributes, opset):
    x = inputs[0]
    mode = text(attributes, "mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise UnsupportedError(f"Resize: unknown mode '{mode}' (allowed: nearest, linear, cubic)")
    if opset < 11:
        inputs = [x, None, *inputs[1:]]
        attributes = {
            "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"
        } | attributes  # fmt: skip
    dtype = dtype_of(x)
    if mode != "nearest" and "float" not in dtype:
        raise UnsupportedError(f"Resize: mode '{mode}' of {dtype}; allowed: floating-point types")
    crops = text(attributes, "coordinate_transformation_mode") == "tf_crop_and_resize"
    for number, axis in _axes(shape_of(x), inputs, attributes).items():
        if axis.wanted != axis.size or axis.scale != 1 or crops:
            x = _resized(builder, x, number, axis, mode, attributes)
    return x


@converter("Upsample")
def _upsample(builder, inputs, attributes, _opset):
    scales = given(inputs, 1)
    if scales is None:
        scales = const(attributes["scales"], "float32")
    mode = text(attributes, "mode", "nearest")
    return _resize(builder, [inputs[0], scales], {"mode": mode.replace("bilinear", "linear")}, 10)
