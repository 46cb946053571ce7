"""What is done to each pixel behind a rewritten convolution, done to its parts: there it fuses."""

from dataclasses import replace

import numpy as np
from tvm import relax

from ...partition.graph import shape_of, static_shape
from .registry import Laid, Making, rewrites


def _laid(making: Making, call: relax.Call, index: int) -> Laid | None:
    """Return the parts of an operand that nothing else reads, None of any other operand."""
    operand = call.args[index]
    found = making.laid.get(hash(making.graph.value(operand)))
    alone = found is not None and making.graph.only_user(operand) is not None
    return found if alone else None


@rewrites("nn.relu", "clip")
def bounded(making: Making, call: relax.Call, args: list):
    """Bound the parts."""
    found = _laid(making, call, 0)
    if found is None:
        return None
    parts = [making.emit(relax.Call(call.op, [p, *args[1:]], call.attrs)) for p in found.parts]
    return making.laid_out(call, replace(found, parts=tuple(parts)))


@rewrites("add", "maximum", "minimum")
def with_constant(making: Making, call: relax.Call, _args: list):
    """Take a number, or one for each channel, to the parts."""
    for index in range(2):
        found, constant = _laid(making, call, index), making.graph.constant(call.args[1 - index])
        if found is None or constant is None:
            continue
        rank, channels = len(shape_of(call)), shape_of(call)[1]
        aligned = (1,) * (rank - constant.ndim) + constant.shape
        alone = all(size == 1 for axis, size in enumerate(aligned) if axis != 1)
        if len(aligned) != rank or not alone or aligned[1] not in (1, channels):
            return None
        whole = np.broadcast_to(constant.reshape(-1), (channels,))
        parts = [
            making.emit(relax.Call(call.op, [part, _each(making, whole, at, constant)]))
            for part, at in zip(found.parts, found.channels, strict=True)
        ]
        return making.laid_out(call, replace(found, parts=tuple(parts)))
    return None


def _each(making: Making, values: np.ndarray, channels: np.ndarray, source: np.ndarray):
    """Return a value for each channel of a part, which is an image."""
    return making.constant(values[channels].reshape(1, -1, 1, 1), source)


@rewrites("nn.batch_norm")
def normed(making: Making, call: relax.Call, args: list):
    """Norm the parts, by constants; the running moments stay as they are."""
    found = _laid(making, call, 0)
    every = [making.graph.constant(arg) for arg in call.args[1:5]]
    constants = [constant for constant in every if constant is not None]
    if (
        found is None
        or len(constants) < len(every)
        or bool(call.attrs.training)
        or int(call.attrs.axis) != 1
    ):
        return None
    user = making.graph.only_user(next(v for v, e in making.graph.order if e.same_as(call)))
    if user is None or not isinstance(user[1], relax.TupleGetItem) or user[1].index != 0:
        return None
    parts = []
    for part, at in zip(found.parts, found.channels, strict=True):
        moments = [making.constant(constant[at], constant) for constant in constants]
        both = making.emit(relax.Call(call.op, [part, *moments], call.attrs))
        parts.append(making.emit(relax.TupleGetItem(both, 0)))
    # What reads the norm's result is its first item, and parts go on from there.
    result = making.emit(making.laid_out(user[1], replace(found, parts=tuple(parts))))
    return relax.Tuple([result, args[3], args[4]])


@rewrites("reshape")
def reshaped(making: Making, call: relax.Call, args: list):
    """Pass by a reshape that changes nothing, as exporters leave them."""
    same = static_shape(call) is not None and static_shape(call) == static_shape(call.args[0])
    found = _laid(making, call, 0)
    if not same or found is None:
        return None
    making.laid[hash(call)] = found
    return args[0]
