"""Instructions of a run-time quantization: load, exponent, codes, store."""

from collections.abc import Callable
from functools import partial

from ...target.formats import ACTIVATION_FORMATS
from ...target.isa import instructions as isa
from ...target.isa.program import Argument
from ...target.isa.spec import Affine, Mem, Unit
from ..operators import Quantize
from ..tiling.nest import F32
from .allocate import affine
from .loads import ZERO
from .state import Emitter, Lowered, Op
from .tree import Linear, StageNode

Strides = tuple[int, ...]
"""Elements from image to image, row to row, and element to element of a row."""


def lower_quantize(emitter: Emitter, _weights: bytes, strides: Strides | None = None) -> Lowered:
    """Return arguments, buffers and stage emitters of a run-time quantization.

    Parameters
    ----------
    strides : tuple of int, optional
        Of the values, where they don't lie as the codes do.
    """
    op: Quantize = emitter.operator
    at = strides or (op.rows * op.length, *op.strides)
    arguments = (
        Argument("x", "float32", op.shape),
        Argument("out", "int8", op.shape, True),
        Argument("out_exponent", "int8", (op.batch, op.rows, op.groups), True),
    )
    two_passes = "x_again_tile" in emitter.nest.stages
    stages: dict[str, Callable] = {
        "x_tile": partial(_load, op, at, "x"),
        "x_again_tile": partial(_load, op, at, "x_again"),
        "bits": partial(_exponent, op, at),
        "exponent": lambda _stage: [],
        "q": partial(_codes, op, at, "x_again" if two_passes else "x"),
        "out": partial(_store, op),
        "out_exponent": partial(_store_exponent, op),
    }
    whole: dict[int, dict[str, int]] = {}
    if at[2] == 1:
        loads = ("x", "x_again") if two_passes else ("x",)
        whole[0] = dict.fromkeys(loads, at[1] * F32)
    if not op.across:
        whole[1] = {"q": op.length}
    whole[2] = {"exponent": op.groups}
    return Lowered(arguments, tuple(buffer for _, buffer in emitter.nest.placed()), stages, whole)


def _row(op: Quantize, stage: StageNode) -> Linear:
    """Return the row of a tile among those of all images."""
    return stage["b"] * op.rows + stage["r"]


def _column(op: Quantize, emitter: Emitter, stage: StageNode) -> Linear:
    return stage["g"] * op.group + stage["p"] * emitter.tile.tile_length


def _element(op: Quantize, at: Strides, emitter: Emitter, stage: StageNode) -> Linear:
    """Return where a tile's first element lies."""
    image, row, step = at
    return stage["b"] * image + stage["r"] * row + _column(op, emitter, stage) * step


def _value(
    op: Quantize, at: Strides, buffer: str, emitter: Emitter, stage: StageNode, path
) -> Affine:
    """Return where on the chip a tile's first value lies."""
    if buffer in emitter.kept:
        first = _element(op, at, emitter, stage) * F32
        return affine(first + emitter.placed[buffer].base, path)
    return emitter.at(buffer, _row(op, stage), _column(op, emitter, stage), path)


def _extents(op: Quantize, emitter: Emitter, stage: StageNode) -> dict[str, int]:
    length = emitter.tile.tile_length
    return {
        "rows": emitter.clip(emitter.tile_rows, op.rows, stage["r"]),
        "cols": emitter.clip(length, op.length, _column(op, emitter, stage)),
    }


def _load(op: Quantize, at: Strides, buffer: str, stage: StageNode):
    def build(emitter, path):
        _, row, step = at
        return isa.DmaLoad(
            mem=Mem.OBUF,
            dst=emitter.at(buffer, _row(op, stage), _column(op, emitter, stage), path),
            dst_pitch=emitter.pitch(buffer),
            arg=0,
            src=affine(_element(op, at, emitter, stage) * F32, path),
            src_pitch=row * F32,
            src_step=step * F32,
            element=F32,
            **_extents(op, emitter, stage),
        )

    return [Op(Unit.DMA_IN, (), (buffer,), build, note="fp32 rows of one group")]


def _exponent(op: Quantize, at: Strides, stage: StageNode):
    def build(emitter, path):
        p, row = stage["p"], _row(op, stage)
        return isa.Absmax(
            dst=emitter.at("exponent", row, stage["g"], path),
            dst_pitch=emitter.pitch("exponent"),
            src=_value(op, at, "x", emitter, stage, path),
            src_pitch=emitter.pitch("x"),
            **_extents(op, emitter, stage),
            accumulate=affine(p, path),
            bits=ACTIVATION_FORMATS[op.activation].code_bits,
        )

    return [Op(Unit.VECTOR, ("x",), ("exponent",), build, note="exponent of each row")]


def _codes(op: Quantize, at: Strides, source: str, stage: StageNode):
    def build(emitter, path):
        row, column = _row(op, stage), _column(op, emitter, stage)
        return isa.Quant(
            dst=emitter.at("q", row, column, path),
            dst_pitch=emitter.pitch("q"),
            exponent=emitter.at("exponent", row, stage["g"], path),
            exponent_pitch=emitter.pitch("exponent"),
            src=_value(op, at, source, emitter, stage, path),
            src_pitch=emitter.pitch(source),
            **_extents(op, emitter, stage),
            bits=ACTIVATION_FORMATS[op.activation].code_bits,
        )

    return [Op(Unit.VECTOR, (source, "exponent"), ("q",), build, note="codes of each row")]


def _store(op: Quantize, stage: StageNode):
    def build(emitter, path):
        row, step = op.strides
        dense = (op.rows * op.length, row, step)
        return isa.DmaStore(
            arg=1,
            dst=affine(_element(op, dense, emitter, stage), path),
            dst_pitch=row,
            dst_step=step,
            mem=Mem.SPAD,
            src=emitter.at("q", _row(op, stage), _column(op, emitter, stage), path),
            src_pitch=emitter.pitch("q"),
            element=1,
            **_extents(op, emitter, stage),
        )

    return [Op(Unit.DMA_OUT, ("q",), (), build, note="int8 rows")]


def _store_exponent(op: Quantize, stage: StageNode):
    def build(emitter, path):
        r, g = stage["r"], stage["g"]
        return isa.DmaStore(
            arg=2,
            dst=affine((stage["b"] * op.rows + r) * op.groups + g, path),
            dst_pitch=op.groups,
            dst_step=1,
            mem=Mem.SPAD,
            src=emitter.at("exponent", _row(op, stage), g, path),
            src_pitch=emitter.pitch("exponent"),
            element=1,
            rows=emitter.clip(emitter.tile_rows, op.rows, r),
            cols=emitter.clip(1, 1, ZERO),
        )

    return [Op(Unit.DMA_OUT, ("exponent",), (), build, note="exponents of the rows")]
