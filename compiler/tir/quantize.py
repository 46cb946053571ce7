"""Run-time quantization as tensor expressions: MX-INT, one power of two per group."""

from tvm import te, tirx

from ...target.formats import ACTIVATION_FORMATS, EXPONENT_MIN
from ..operators import ATTRIBUTE, Quantize, to_attribute
from ..symbolic import Symbolic
from ..tiling.quantize import QuantizeTile, quantize_nest
from ..tiling.tile import TILE, to_text
from .sizes import Extents


def quantize(op: Quantize, tile: QuantizeTile | None = None) -> tirx.PrimFunc:
    """Return the PrimFunc x fp32 -> int8 and exponents, in the operator's shapes.

    With a tile, outputs keep the tiled shape ``(batch, rows, groups, chunks, tile_length)``.
    """
    if tile is None:
        return _reference(op)
    return _tiled(op, te.placeholder(op.shape, "float32", "x"), tile)


def _place(op: Quantize, b, r, j) -> tuple:
    """Return the index of a row's element, and of an element's row: it is its own inverse."""
    return (b, j, r) if op.across else (b, r, j)


def _reference(given: Quantize):
    op: Quantize = Extents()(given)
    x = te.placeholder(op.shape, "float32", "x")
    j = te.reduce_axis((0, min(given.group, int(given.length))), "j")
    ragged = isinstance(given.length, Symbolic) or (given.length % op.group and op.groups > 1)

    def bits_at(b, r, g):
        value = exponent_bits(x[_place(op, b, r, g * op.group + j)])
        if ragged:
            value = tirx.if_then_else(g * op.group + j < op.length, value, 0)
        return te.max(value, axis=j)

    shape = (op.batch, op.rows, op.groups)
    bits = te.compute(shape, bits_at, name="bits")
    exponent = te.compute(shape, lambda *p: exponent_of(bits[p], op.activation), name="exponent")

    def code(*index):
        b, r, j = _place(op, *index)
        return quantized(x[index], exponent[b, r, j // op.group], op.activation)

    q = te.compute(op.shape, code, name="q")
    return _prim_func(given, [x, q, exponent])


def _tiled(op, x, tile):
    nest = quantize_nest(op, tile)

    def load(name):
        def read(b, r, g, p, j):
            column = g * op.group + p * tile.tile_length + j
            inside = tirx.all(r < op.rows, column < op.length)
            value = x[_place(op, b, r, column)]
            return tirx.if_then_else(inside, value, tirx.const(0.0, "float32"))

        return te.compute(nest.shape(name), read, name=name)

    first = load("x_tile")
    second = load("x_again_tile") if "x_again_tile" in nest.stages else first
    p = te.reduce_axis((0, nest.axes["p"].extent), "p")
    j = te.reduce_axis((0, nest.axes["j"].extent), "j")
    bodies = {
        "bits": lambda *row: te.max(exponent_bits(first[(*row, p, j)]), axis=[p, j]),
        "exponent": lambda *row: exponent_of(made["bits"][row], op.activation),
        "q": lambda *index: quantized(second[index], made["exponent"][index[:3]], op.activation),
        "out": lambda *index: made["q"](*index),
        "out_exponent": lambda *index: made["exponent"](*index),
    }
    made: dict[str, te.Tensor] = {}
    for name, body in bodies.items():
        made[name] = te.compute(nest.shape(name), body, name=name)
    function = _prim_func(op, [x, made["out"], made["out_exponent"]])
    return function.with_attr(TILE, to_text(tile))


def _prim_func(op, tensors) -> tirx.PrimFunc:
    return te.create_prim_func(tensors).with_attr(ATTRIBUTE, to_attribute(op))


def power_of_two(exponent):
    """Return the fp32 expression 2^exponent for exponents of normal numbers."""
    return tirx.reinterpret("float32", (exponent.astype("int32") + 127) << 23)


def exponent_bits(value):
    """Return the biased exponent field of |value|: its order is that of the magnitudes."""
    return (tirx.reinterpret("int32", value) & 0x7FFFFFFF) >> 23


def exponent_of(bits, activation: str):
    """Return a group's int8 exponent from its largest biased exponent field."""
    lowest = tirx.const(EXPONENT_MIN, "int32")
    largest = tirx.max(bits - 127, lowest)
    top_bit = ACTIVATION_FORMATS[activation].top_bit
    return tirx.max(largest - top_bit, lowest).astype("int8")


def quantized(value, exponent, activation: str):
    """Return the int8 code of a value: rounded half to even, clipped."""
    scaled = tirx.nearbyint(value * power_of_two(-exponent.astype("int32")))
    limit = tirx.const(float(ACTIVATION_FORMATS[activation].q_max), "float32")
    return tirx.max(tirx.min(scaled, limit), -limit).astype("int8")
