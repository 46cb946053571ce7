"""Layer norm and RMS norm: sums of squares, an integer square root and a reciprocal (I-ViT)."""

import math

import numpy as np

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from .. import kernels
from ..codes import Codes, step_for
from ..emission import BYTE, WIDE, Emission
from ..reference import MOST
from .registry import rule


def _norm(emission: Emission, var, call, weight, bias, center: bool) -> Codes:
    x = call.args[0]
    length, largest = shape_of(x)[-1], emission.range(x) or 1.0
    if weight is None or (bias is None and center):
        raise UnsupportedError("weights known at run time; allowed: constants")
    if [int(axis) % len(shape_of(x)) for axis in call.attrs.axes] != [len(shape_of(x)) - 1]:
        raise UnsupportedError("a norm over other axes; allowed: the last")
    epsilon = float(call.attrs.epsilon)
    # The squares of a row and epsilon have to fit 32 bits together.
    limit = math.isqrt(int(MOST / (length * (1 + epsilon / largest**2)))) - 2
    if limit < BYTE:
        raise UnsupportedError(f"a norm over {length} numbers; allowed: {MOST // (BYTE + 2) ** 2}")
    value = emission.scaled(emission.codes(x), largest / limit, limit)
    constant = round(epsilon * length / (largest / limit) ** 2)
    codes = emission.kernel(
        "norm", lambda x: kernels.norm(x, constant, center), emission.int32(value).codes
    )
    normed = Codes(codes, weight * math.sqrt(length) / (1 << 30), 1 << 30)
    scale = step_for(emission.range(var), WIDE)
    offset = None if bias is None else np.rint(bias / scale)
    return emission.scaled(normed, scale, WIDE, offset)


@rule("nn.layer_norm")
def layer_norm(emission: Emission, var, call) -> Codes:
    """I-LayerNorm."""
    weight, bias = map(emission.known, call.args[1:3])
    return _norm(emission, var, call, weight, bias, True)


@rule("nn.rms_norm")
def rms_norm(emission: Emission, var, call) -> Codes:
    """The same without the mean."""
    return _norm(emission, var, call, emission.known(call.args[1]), None, False)
