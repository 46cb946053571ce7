"""Largest, smallest, and one or the other: what compares integers as their numbers compare."""

import numpy as np
from tvm import relax
from tvm.relax import op

from ..codes import Codes, step_for
from ..emission import WHOLE, WIDE, Emission
from ..ranges import NEVER
from .registry import rule
from .truths import chosen, int32_of


@rule("nn.relu")
def relu(emission: Emission, _var, call) -> Codes:
    """Leave out integers below 0."""
    value = emission.upright(call.args[0])
    zero = relax.const(0, str(value.codes.ty.dtype))
    return Codes(emission.emit(op.maximum(value.codes, zero)), value.scale, value.limit)


@rule("clip")
def clip(emission: Emission, _var, call) -> Codes:
    """Clip integers."""
    value = emission.int32(emission.upright(call.args[0], uniform=True))
    low, high = (np.clip(float(each.value), -1e30, 1e30) for each in call.args[1:3])
    bounds = [int(np.clip(np.rint(each / value.scale), -WHOLE, WHOLE)) for each in (low, high)]
    least = emission.emit(op.maximum(value.codes, relax.const(bounds[0], "int32")))
    codes = emission.emit(op.minimum(least, relax.const(bounds[1], "int32")))
    return Codes(codes, value.scale, max(map(abs, bounds)))


@rule("maximum", "minimum")
def extreme(emission: Emission, _var, call) -> Codes:
    """Compare under one scale."""
    scale = step_for(max(map(emission.range, call.args)), WIDE)
    pair = [emission.scaled(emission.codes(each), scale, WIDE) for each in call.args]
    codes = emission.emit(relax.Call(call.op, [each.codes for each in pair]))
    return Codes(codes, pair[0].scale, WIDE)


@rule("nn.max_pool2d")
def max_pool(emission: Emission, _var, call) -> Codes:
    """Take the largest of each window, of 8 bits."""
    value = emission.narrow(call.args[0])
    if value.scale < 0:
        value = emission.upright(call.args[0])
    pooled = emission.emit(relax.Call(call.op, [value.codes], call.attrs))
    return Codes(pooled, value.scale, value.limit)


@rule("where")
def where(emission: Emission, var, call) -> Codes:
    """Choose under one scale; what stands for minus infinity is as far as integers go."""
    condition, *branches = call.args
    largest = emission.range(var)
    # Between nothing and minus infinity any scale does: one in which it's far.
    scale = step_for(largest, WIDE) if largest > 0 else 1.0
    sides = []
    for branch in branches:
        numbers = emission.known(branch)
        if numbers is None:
            sides.append(emission.scaled(emission.codes(branch), scale, WIDE).codes)
            continue
        codes = np.where(numbers > NEVER, np.rint(numbers / scale), -WHOLE)
        sides.append(relax.const(np.clip(codes, -WHOLE, WHOLE).astype(np.int32)))
    codes = chosen(emission, int32_of(emission, condition), *sides)
    return Codes(codes, np.asarray(scale), WHOLE)
