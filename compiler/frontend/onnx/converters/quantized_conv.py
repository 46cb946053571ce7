"""Convolutions of integers: QLinearConv, ConvInteger."""

from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from ....passes.integers.arithmetic import known
from ....passes.integers.products import Geometry, conv2d
from ....passes.integers.scaling import ratio, requantized, single, times
from . import converter


@converter("ConvInteger")
def _conv_integer(bb, inputs, attrs, _opset):
    x, weight, *zeros = inputs
    x_zero, w_zero = [*zeros, None, None][:2]
    return _convolved(bb, x, weight, x_zero, w_zero, attrs)


@converter("QLinearConv")
def _qlinear_conv(bb, inputs, attrs, _opset):
    x, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, *rest = inputs
    sums = _convolved(bb, x, weight, x_zero, w_zero, attrs)
    channels = (-1,) + (1,) * (len(shape_of(weight)) - 2)
    if rest and rest[0] is not None:
        sums = bb.emit(op.add(sums, _over(bb, rest[0], channels)))
    both = times(bb.emit, single(bb.emit, x_scale), w_scale)
    factor = _over(bb, ratio(bb.emit, both, single(bb.emit, y_scale)), channels)
    return requantized(bb.emit, sums, factor, single(bb.emit, y_zero), str(y_zero.ty.dtype))


def _over(bb, values, shape):
    """Return one value, or one for each channel, as it broadcasts with an image."""
    value = known(values)
    if value is None:
        return bb.emit(op.reshape(values, shape if shape_of(values) != () else ()))
    return relax.const(value.reshape(() if value.size == 1 else shape))


def _convolved(bb, x, weight, x_zero, w_zero, attrs):
    """Return the integers of a 1-D or 2-D convolution."""
    rank = len(shape_of(weight)) - 2
    if rank not in (1, 2):
        raise UnsupportedError(f"a {rank}-D convolution of integers; allowed: 1-D, 2-D")
    if rank == 1:
        x = bb.emit(op.expand_dims(x, 2))
        value = known(weight)
        kernel = op.expand_dims(weight, 2) if value is None else relax.const(value[:, :, None])
        weight = bb.emit(kernel) if value is None else kernel
    geometry = _geometry(attrs, shape_of(x)[2:], shape_of(weight)[2:])
    sums = conv2d(bb.emit, x, weight, geometry, x_zero, w_zero)
    return bb.emit(op.squeeze(sums, [2])) if rank == 1 else sums


def _geometry(attrs, image: tuple[int, ...], kernel: tuple[int, ...]) -> Geometry:
    strides, dilation = _pair(attrs.get("strides"), 1), _pair(attrs.get("dilations"), 1)
    auto = attrs.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        around = [
            max(0, (-(-size // step) - 1) * step + (taps - 1) * apart + 1 - size)
            for size, step, taps, apart in zip(image, strides, kernel, dilation, strict=True)
        ]
        low = [(total + (auto == "SAME_LOWER")) // 2 for total in around]
        high = [total - first for total, first in zip(around, low, strict=True)]
        pads = (*low, *high)
    elif auto == "VALID" or "pads" not in attrs:
        pads = (0, 0, 0, 0)
    else:
        half = len(attrs["pads"]) // 2
        pads = (*_pair(attrs["pads"][:half], 0), *_pair(attrs["pads"][half:], 0))
    return Geometry(strides, tuple(map(int, pads)), dilation, int(attrs.get("group", 1)))


def _pair(values, missing: int) -> tuple[int, int]:
    """Return what two axes have; a 1-D convolution is one of images with a single row."""
    if values is None:
        return missing, missing
    found = [int(value) for value in values]
    return (missing, found[0]) if len(found) == 1 else (found[0], found[1])
