"""Instructions of a run-time quantization: load, exponent, codes, store."""

from collections.abc import Callable
from functools import partial

from ...target.formats import ACTIVATION_FORMATS
from ...target.isa import instructions as isa
from ...target.isa.program import Argument
from ...target.isa.spec import Mem, Unit
from ..operators import Quantize
from .allocate import Buffer, affine
from .loads import F32, ZERO
from .state import Emitter, Lowered, Op
from .tree import Linear, Stage


def lower_quantize(emitter: Emitter) -> Lowered:
    """Return arguments, buffers and stage emitters of a run-time quantization."""
    op: Quantize = emitter.operator
    arguments = (
        Argument("x", "float32", (op.rows, op.length)),
        Argument("out", "int8", (op.rows, op.length), True),
        Argument("out_exponent", "int8", (op.rows, op.groups), True),
    )
    length = emitter.shapes["x_tile"][-1]
    rows = emitter.tile_rows
    buffers = [
        Buffer("x", Mem.OBUF, rows, F32 * length, F32),
        Buffer("x_again", Mem.OBUF, rows, F32 * length, F32),
        Buffer("exponent", Mem.SPAD, rows, 1),
        Buffer("q", Mem.SPAD, rows, length),
    ]
    two_passes = "x_again_tile" in emitter.shapes
    stages: dict[str, Callable] = {
        "x_tile": partial(_load, op, "x"),
        "x_again_tile": partial(_load, op, "x_again"),
        "bits": partial(_exponent, op),
        "exponent": lambda _stage: [],
        "q": partial(_codes, op, "x_again" if two_passes else "x"),
        "out": partial(_store, op),
        "out_exponent": partial(_store_exponent, op),
    }
    return Lowered(arguments, {buffer.name: buffer for buffer in buffers}, stages)


def _column(op: Quantize, emitter: Emitter, stage: Stage) -> Linear:
    _, g, p, _ = stage.starts
    return g * op.group + p * emitter.shapes["x_tile"][-1]


def _extents(op: Quantize, emitter: Emitter, stage: Stage) -> dict[str, int]:
    length = emitter.shapes["x_tile"][-1]
    return {
        "rows": emitter.clip(emitter.tile_rows, op.rows, stage.starts[0]),
        "cols": emitter.clip(length, op.length, _column(op, emitter, stage)),
    }


def _load(op: Quantize, buffer: str, stage: Stage):
    def build(emitter, path):
        r = stage.starts[0]
        return isa.DmaLoad(
            mem=Mem.OBUF,
            dst=emitter.at(buffer, r, ZERO, path),
            dst_pitch=emitter.pitch(buffer),
            arg=0,
            src=affine((r * op.length + _column(op, emitter, stage)) * F32, path),
            src_pitch=op.length * F32,
            src_step=F32,
            element=F32,
            **_extents(op, emitter, stage),
        )

    return [Op(Unit.DMA_IN, (), (buffer,), build, note="fp32 rows of one group")]


def _exponent(op: Quantize, stage: Stage):
    def build(emitter, path):
        r, _, p, _ = stage.starts
        return isa.Absmax(
            dst=emitter.at("exponent", r, ZERO, path),
            dst_pitch=1,
            src=emitter.at("x", r, ZERO, path),
            src_pitch=emitter.pitch("x"),
            **_extents(op, emitter, stage),
            accumulate=affine(p, path),
            bits=ACTIVATION_FORMATS[op.activation].bits,
        )

    return [Op(Unit.VECTOR, ("x",), ("exponent",), build, note="exponent of each row")]


def _codes(op: Quantize, source: str, stage: Stage):
    def build(emitter, path):
        r = stage.starts[0]
        return isa.Quant(
            dst=emitter.at("q", r, ZERO, path),
            dst_pitch=emitter.pitch("q"),
            exponent=emitter.at("exponent", r, ZERO, path),
            exponent_pitch=1,
            src=emitter.at(source, r, ZERO, path),
            src_pitch=emitter.pitch(source),
            **_extents(op, emitter, stage),
            bits=ACTIVATION_FORMATS[op.activation].bits,
        )

    return [Op(Unit.VECTOR, (source, "exponent"), ("q",), build, note="codes of each row")]


def _store(op: Quantize, stage: Stage):
    def build(emitter, path):
        r = stage.starts[0]
        return isa.DmaStore(
            arg=1,
            dst=affine(r * op.length + _column(op, emitter, stage), path),
            dst_pitch=op.length,
            dst_step=1,
            mem=Mem.SPAD,
            src=emitter.at("q", r, ZERO, path),
            src_pitch=emitter.pitch("q"),
            element=1,
            **_extents(op, emitter, stage),
        )

    return [Op(Unit.DMA_OUT, ("q",), (), build, note="int8 rows")]


def _store_exponent(op: Quantize, stage: Stage):
    def build(emitter, path):
        r, g = stage.starts
        return isa.DmaStore(
            arg=2,
            dst=affine(r * op.groups + g, path),
            dst_pitch=op.groups,
            dst_step=1,
            mem=Mem.SPAD,
            src=emitter.at("exponent", r, ZERO, path),
            src_pitch=1,
            element=1,
            rows=emitter.clip(emitter.tile_rows, op.rows, r),
            cols=emitter.clip(1, 1, ZERO),
        )

    return [Op(Unit.DMA_OUT, ("exponent",), (), build, note="exponents of the rows")]
