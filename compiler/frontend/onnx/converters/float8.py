"""Numbers of 8 bits with an exponent: TVM rounds, bounds and reads them wrongly, so bits are made.

Of fp32, fp64 and what becomes fp32 without loss. Whole numbers up to 2^24 are exact too, and larger
ones are beyond all of these types but E8M0.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
from tvm import relax, te, tirx, topi

from .....target.errors import UnsupportedError, unknown_name
from . import converter
from .theirs import by_tvm
from .values import dtype_of, text


@dataclass(frozen=True)
class Layout:
    """Bits of a type: those of the mantissa, the exponent's bias, and the codes at the end.

    Attributes
    ----------
    mantissa, bias, largest : int
        `largest` is the code of the largest number.
    beyond, nan : int
        Codes of what is larger and isn't bounded, and of what is no number.
    negative_zero : bool
    """

    mantissa: int
    bias: int
    largest: int
    beyond: int
    nan: int
    negative_zero: bool = True


LAYOUTS = {
    "float8_e4m3fn": Layout(3, 7, 0x7E, 0x7F, 0x7F),
    "float8_e5m2": Layout(2, 15, 0x7B, 0x7C, 0x7F),
    "float8_e4m3fnuz": Layout(3, 8, 0x7F, 0x80, 0x80, negative_zero=False),
    "float8_e5m2fnuz": Layout(2, 16, 0x7F, 0x80, 0x80, negative_zero=False),
}
SCALE = "float8_e8m0fnu"
"""A type of powers of two alone."""
WIDE = {"float32": (32, 23, 127), "float64": (64, 52, 1023)}
"""Of what numbers are made from: bits, those of the mantissa, and the exponent's bias."""
ROUNDS = ("up", "down", "nearest")


def is_float8(dtype: str) -> bool:
    """Tell whether a dtype is one of 8 bits with an exponent."""
    return dtype in LAYOUTS or dtype == SCALE


def decoded(builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    """Return numbers of 8 bits as fp32."""
    kind = np.dtype(getattr(ml_dtypes, dtype_of(x)))
    numbers = relax.const(np.arange(256, dtype=np.uint8).view(kind).astype(np.float32))

    def look_up(codes, table):
        return te.compute(
            codes.shape,
            lambda *i: table[tirx.reinterpret("uint8", codes(*i)).astype("int32")],
            name="decode",
        )

    return builder.emit_te(look_up, x, numbers)


def encoded(
    builder: relax.BlockBuilder, x: relax.Expr, dtype: str, saturate: bool, rounds: str = "up"
) -> relax.Expr:
    """Return numbers as those of 8 bits, rounded half to even.

    Parameters
    ----------
    saturate : bool
        Whether the largest number stands for what is beyond it.
    rounds : str
        Of powers of two: "up", "down" or "nearest".
    """
    if rounds not in ROUNDS:
        raise UnsupportedError(f"Cast: {unknown_name('round_mode', rounds, ROUNDS)}")
    if dtype_of(x) not in WIDE or dtype == SCALE:
        x = builder.emit(relax.op.astype(x, "float32"))

    wide = dtype_of(x)
    bits = WIDE[wide][0]

    def encode(numbers):
        # Stages of their own: TVM makes what is compared one integer of 64 bits, casts inside it
        # as well.
        whole = _each(lambda value: tirx.reinterpret(f"int{bits}", value), numbers)
        if dtype == SCALE:
            codes = _power_codes(whole, saturate, rounds)
        else:
            codes = _codes(whole, wide, LAYOUTS[dtype], saturate)
        return topi.reinterpret(codes, dtype)

    return builder.emit_te(encode, x)


def _each(function, *tensors):
    """Return a function of each element of tensors."""
    return te.compute(tensors[0].shape, lambda *i: function(*(each(*i) for each in tensors)))


def _codes(whole, dtype: str, layout: Layout, saturate: bool):
    """Return the codes of numbers, given as integers of their bits."""
    bits, mantissa, bias = WIDE[dtype]
    kind, least = f"int{bits}", 1 - layout.bias
    positive = _each(lambda value: value & tirx.const((1 << (bits - 1)) - 1, kind), whole)

    def rounded(value):
        exponent = (value >> tirx.const(mantissa, kind)).astype("int32") - bias
        # Above the largest number of any type a larger exponent changes nothing.
        at = tirx.min(tirx.max(exponent, least), 2 * bias // 3)
        power = (layout.mantissa - at + bias).astype(kind) << tirx.const(mantissa, kind)
        steps = tirx.nearbyint(tirx.reinterpret(dtype, value) * tirx.reinterpret(dtype, power))
        steps = tirx.min(steps, tirx.const(1 << 20, dtype))
        # A number of the least exponent has no leading one to take off; what is rounded up to the
        # next power of two carries into the exponent.
        return ((at - least) << layout.mantissa) + steps.astype("int32")

    def bounded(code, value):
        end = layout.largest if saturate else layout.beyond
        code = tirx.Select(code > layout.largest, end, code)
        infinite = tirx.const((2 * bias + 1) << mantissa, kind)
        return tirx.Select(value > infinite, layout.nan, code)

    def signed(code, value):
        negative = value < tirx.const(0, kind)
        if not layout.negative_zero:
            negative = tirx.all(negative, code > 0)
        return tirx.Select(negative, code | 0x80, code).astype("uint8")

    code = _each(bounded, _each(rounded, positive), positive)
    return _each(signed, code, whole)


def _power_codes(whole, saturate: bool, rounds: str):
    """Return the codes of powers of two: exponents as those of fp32, none for what is below 0."""
    exponent = _each(lambda value: (value >> 23) & 0xFF, whole)
    rest = _each(lambda value: value & 0x7FFFFF, whole)

    def rounded(code, value):
        half = tirx.const(0x400000, "int32")
        above = {
            "up": value > 0,
            "down": value < 0,
            # Half of the least number isn't rounded up.
            "nearest": tirx.any(value > half, tirx.all(value >= half, code > 0)),
        }[rounds]
        more = tirx.Select(above, code + 1, code)
        more = tirx.min(more, 0xFE) if saturate else more
        return tirx.Select(code > 0xFE, 0xFF, more).astype("uint8")

    return _each(rounded, exponent, rest)


@converter("Cast")
def _cast(builder, inputs, attributes, opset):
    wanted = attributes["to"]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted).name
    return _to(builder, inputs[0], dtype, attributes, opset)


@converter("CastLike")
def _cast_like(builder, inputs, attributes, opset):
    x, like = inputs
    dtype = "int64" if isinstance(like, relax.ShapeExpr) else dtype_of(like)
    return _to(builder, x, dtype, attributes, opset)


def _to(builder, x, dtype: str, attributes, opset: int):
    has_dtype = isinstance(x.ty, relax.TensorType) if isinstance(x, relax.Expr) else False
    if has_dtype and dtype == dtype_of(x):
        return x
    if has_dtype and is_float8(dtype_of(x)):
        x = decoded(builder, x)
    if is_float8(dtype):
        saturate = bool(attributes.get("saturate", 1))
        return encoded(builder, x, dtype, saturate, text(attributes, "round_mode", "up"))
    return by_tvm("Cast", builder, [x], {"to": dtype}, opset)
