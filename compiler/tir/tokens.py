"""Activations for comparison as a tensor expression: rounded row by row, in fp32 again.

What others compute dynamically per token: one fp32 scale for a row's largest magnitude.
"""

from tvm import te, tirx

from ..quant.e4m3 import EXPONENT_MIN, MANTISSA_BITS
from ..quant.host_formats import FP8, STUDY_ACTIVATIONS
from .quantize import exponent_bits, power_of_two


def rounded_tokens(rows: int, length: int, activation: str) -> tirx.PrimFunc:
    """Return the PrimFunc x fp32 ``(rows, length)`` -> its values in a format of the study."""
    codes = STUDY_ACTIVATIONS[activation]
    limit = tirx.const(codes.largest, "float32")
    x = te.placeholder((rows, length), "float32", "x")
    j = te.reduce_axis((0, length), "j")
    largest = te.compute((rows,), lambda r: te.max(te.abs(x[r, j]), axis=j), name="largest")
    one = tirx.const(1.0, "float32")
    scale = te.compute(
        (rows,),
        lambda r: tirx.if_then_else(largest[r] > 0, largest[r] / limit, one),
        name="scale",
    )

    def value(r, k):
        ratio = tirx.max(tirx.min(x[r, k] / scale[r], limit), -limit)
        code = _nearest_fp8(ratio) if codes is FP8 else tirx.nearbyint(ratio)
        return code * scale[r]

    return te.create_prim_func([x, te.compute((rows, length), value, name="y")])


def _nearest_fp8(value):
    """Return the nearest value of E4M3, half to even, of one in its range."""
    field = tirx.max(exponent_bits(value) - 127, tirx.const(EXPONENT_MIN, "int32"))
    exponent = field - MANTISSA_BITS
    return tirx.nearbyint(value * power_of_two(-exponent)) * power_of_two(exponent)
