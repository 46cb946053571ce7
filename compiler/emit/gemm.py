"""Instructions of a GEMM's stages: what follows the products, and all stages by name."""

from collections.abc import Callable
from functools import partial

from ...target.formats import ACTIVATION_FORMATS, MACRO_BLOCK, ROWS_INT8, WEIGHT_FORMATS
from ...target.isa import instructions as isa
from ...target.isa.program import Argument
from ...target.isa.spec import Affine, Mem, Unit
from ...target.weight import blocks
from ..operators import Gemm
from ..tiling.nest import F32, Buffer
from .allocate import affine
from .loads import (
    ZERO,
    column_extent,
    fixed_extent,
    load_bias,
    load_residual,
    load_w,
    load_w_exponent,
    load_x,
    load_x_exponent,
    output_offset,
    panel_number,
    row_extent,
)
from .planes import PLANE, products
from .state import Emitter, Lowered, Op
from .tree import Linear, StageNode


def _nothing(_stage):
    return []


def lower_gemm(emitter: Emitter, weights: bytes) -> Lowered:
    """Return arguments, buffers and stage emitters of a GEMM."""
    op: Gemm = emitter.operator
    arguments = gemm_arguments(op)
    index = {argument.name: number for number, argument in enumerate(arguments)}
    plane = Buffer(PLANE, Mem.WBUF, 0, 0)
    buffers = (*(buffer for _, buffer in emitter.nest.placed()), plane)
    stages: dict[str, Callable] = {
        name: _nothing for name in ("w_scale_tile", "psum_init", "exponent")
    }
    for name, function in GEMM_STAGES.items():
        stages[name] = partial(function, op, index)
    stages["psum_update_o"] = partial(products, emitter, weights, op, index)
    stages["out"] = partial(store, emitter.tile.store_pieces, "y", op, index)
    return Lowered(arguments, buffers, stages, _whole(op, index))


def _whole(op: Gemm, index: dict[str, int]) -> dict[int, dict[str, int]]:
    """Return what may lie on the chip as a whole; images don't lie there as they do in DRAM."""
    if op.conv:
        return {}
    pitches = {"x": ("x", op.k), "x_exponent": ("x_exponent", op.groups)}
    pitches["residual"] = ("residual", op.n * F32)
    pitches["out"] = ("q", op.n) if op.requantize else ("y", op.n * F32)
    pitches["out_exponent"] = ("out_exponent", op.column_blocks)
    return {index[name]: dict([row]) for name, row in pitches.items() if name in index}


def first_row(op: Gemm, stage: StageNode, first: int = 0) -> Linear:
    """Return the row of a tile among those of all images."""
    return stage["i"] * op.m + stage["m"] + first


def first_column(stage: StageNode) -> Linear:
    """Return the first column of a tile."""
    return stage["nb"] * MACRO_BLOCK


def gemm_arguments(op: Gemm) -> tuple[Argument, ...]:
    """Return the tensors a GEMM function takes; constant weights are in its segment instead."""
    if op.conv:
        conv = op.conv
        image = (op.batch, op.conv_groups * conv.channels, conv.height, conv.width)
        arguments = [Argument("x", "int8", image)]
    else:
        arguments = [Argument("x", "int8", (op.batch, op.m, op.k))]
    if not op.integers:
        arguments.append(Argument("x_exponent", "int8", op.x_exponents))
    if not op.weight_format:
        arguments.append(Argument("w", "int8", (op.batch, op.n, op.k)))
    if not (op.weight_format or op.integers):
        arguments.append(Argument("w_exponent", "int8", (op.batch, op.n, op.groups)))
    if op.bias:
        arguments.append(Argument("bias", "float32", (op.conv_groups * op.n,)))
    if op.residual:
        arguments.append(Argument("residual", "float32", op.output_shape))
    arguments.append(Argument("out", op.output_dtype, op.output_shape, True))
    if op.requantize:
        shape = (op.batch, op.m, op.column_blocks)
        arguments.append(Argument("out_exponent", "int8", shape, True))
    return tuple(arguments)


def _drain_int(_op: Gemm, _index, stage: StageNode):
    nb, m, g = stage["nb"], stage["m"], stage["g"]

    def build(emitter, path):
        return isa.DrainInt(
            dst=emitter.at("y", m, ZERO, path),
            dst_pitch=emitter.pitch("y"),
            src=emitter.at("acc", m, ZERO, path),
            src_pitch=emitter.pitch("acc"),
            rows=row_extent(emitter, m),
            cols=column_extent(emitter, nb),
            accumulate=affine(g, path),
        )

    return [Op(Unit.VECTOR, ("acc", "y"), ("y",), build, note="integer sums of a group")]


def _drain(op: Gemm, index, stage: StageNode):
    if op.integers:
        return _drain_int(op, index, stage)
    nb, m, g = stage["nb"], stage["m"], stage["g"]

    def build(emitter, path):
        packed = bool(op.weight_format)
        return isa.Drain(
            dst=emitter.at("y", first_row(op, stage), first_column(stage), path),
            dst_pitch=emitter.pitch("y"),
            src=emitter.at("acc", m, ZERO, path),
            src_pitch=emitter.pitch("acc"),
            format=WEIGHT_FORMATS[op.weight_format].code if packed else ROWS_INT8,
            wscale=emitter.at("w", panel_number(op, nb, g), ZERO, path)
            if packed
            else emitter.at("w_exponent", ZERO, g, path),
            wscale_pitch=0 if packed else op.groups,
            xexp=emitter.at("x_exponent", *_exponent_place(op, stage), path),
            xexp_pitch=0 if op.by_image else emitter.pitch("x_exponent"),
            rows=row_extent(emitter, m),
            cols=column_extent(emitter, nb),
            accumulate=affine(g, path),
            xexp_cols=op.n // op.side_by_side if op.side_by_side > 1 else 0,
        )

    reads = ("acc", "x_exponent", "w" if op.weight_format else "w_exponent", "y")
    return [Op(Unit.VECTOR, reads, ("y",), build, note="integer sums of a group to fp32")]


def _exponent_place(op: Gemm, stage: StageNode) -> tuple[Linear, Linear]:
    """Return row and column of the first exponent of a tile."""
    return (ZERO, ZERO) if op.by_image else (first_row(op, stage), stage["g"])


def _add(source: str, pitch: int | None, op: Gemm, _index, stage: StageNode):
    nb, m = stage["nb"], stage["m"]
    place = (first_row(op, stage), first_column(stage))

    def build(emitter, path):
        return isa.Add(
            dst=emitter.at("y", *place, path),
            dst_pitch=emitter.pitch("y"),
            src=emitter.at(source, *(place if pitch is None else (ZERO, ZERO)), path),
            src_pitch=emitter.pitch(source) if pitch is None else pitch,
            rows=row_extent(emitter, m),
            cols=column_extent(emitter, nb),
        )

    return [Op(Unit.VECTOR, (source, "y"), ("y",), build, note=f"add the {source}")]


def _clamp(op: Gemm, _index, stage: StageNode):
    nb, m = stage["nb"], stage["m"]

    def build(emitter, path):
        return isa.Clamp(
            dst=emitter.at("y", first_row(op, stage), first_column(stage), path),
            dst_pitch=emitter.pitch("y"),
            low=float("-inf") if op.low is None else op.low,
            high=float("inf") if op.high is None else op.high,
            rows=row_extent(emitter, m),
            cols=column_extent(emitter, nb),
        )

    return [Op(Unit.VECTOR, ("y",), ("y",), build, note="activation function")]


def _requantize_exponent(op: Gemm, _index, stage: StageNode):
    nb, m = stage["nb"], stage["m"]

    def build(emitter, path):
        return isa.Absmax(
            dst=emitter.at("out_exponent", first_row(op, stage), nb, path),
            dst_pitch=emitter.pitch("out_exponent"),
            src=emitter.at("y", first_row(op, stage), first_column(stage), path),
            src_pitch=emitter.pitch("y"),
            rows=row_extent(emitter, m),
            cols=column_extent(emitter, nb),
            accumulate=Affine(),
            bits=ACTIVATION_FORMATS[op.activation].code_bits,
        )

    return [Op(Unit.VECTOR, ("y",), ("out_exponent",), build, note="exponents of the next input")]


def _requantize(op: Gemm, _index, stage: StageNode):
    nb, m = stage["nb"], stage["m"]

    def build(emitter, path):
        return isa.Quant(
            dst=emitter.at("q", first_row(op, stage), first_column(stage), path),
            dst_pitch=emitter.pitch("q"),
            exponent=emitter.at("out_exponent", first_row(op, stage), nb, path),
            exponent_pitch=emitter.pitch("out_exponent"),
            src=emitter.at("y", first_row(op, stage), first_column(stage), path),
            src_pitch=emitter.pitch("y"),
            rows=row_extent(emitter, m),
            cols=column_extent(emitter, nb),
            bits=ACTIVATION_FORMATS[op.activation].code_bits,
        )

    return [Op(Unit.VECTOR, ("y", "out_exponent"), ("q",), build, note="requantize to int8")]


def store(
    pieces: int, result: str, op: Gemm, index, stage: StageNode, offset: Callable = output_offset
):
    """Return the ops that store a tile, in so many pieces, of a buffer unless it's requantized.

    Parameters
    ----------
    offset : callable
        Where a tile lies in DRAM, if not as the product's result.
    """
    i, c, nb, m = (stage[axis] for axis in ("i", "c", "nb", "m"))
    source, element = ("q", 1) if op.requantize else (result, F32)

    def build(first, rows, emitter, path):
        start, pitch, step = offset(op, i, c, nb, m + first)
        return isa.DmaStore(
            arg=index["out"],
            dst=affine(start * element, path),
            dst_pitch=pitch * element,
            dst_step=step * element,
            mem=Mem.SPAD if op.requantize else Mem.OBUF,
            src=emitter.at(source, first_row(op, stage, first), first_column(stage), path),
            src_pitch=emitter.pitch(source),
            element=element,
            rows=emitter.clip(rows, op.m, m + first),
            cols=column_extent(emitter, nb),
        )

    rows = stage.extent("m")
    piece = blocks(rows, pieces)
    return [
        Op(
            Unit.DMA_OUT,
            (source,),
            (),
            partial(build, first, min(piece, rows - first)),
            note="result tile" if pieces == 1 else f"result tile, rows from {first}",
        )
        for first in range(0, rows, piece)
    ]


def _store_exponent(op: Gemm, index, stage: StageNode):
    i, nb, m = stage["i"], stage["nb"], stage["m"]

    def build(emitter, path):
        offset = i * (op.m * op.column_blocks) + m * op.column_blocks + nb
        return isa.DmaStore(
            arg=index["out_exponent"],
            dst=affine(offset, path),
            dst_pitch=op.column_blocks,
            dst_step=1,
            mem=Mem.SPAD,
            src=emitter.at("out_exponent", first_row(op, stage), nb, path),
            src_pitch=emitter.pitch("out_exponent"),
            element=1,
            rows=row_extent(emitter, m),
            cols=fixed_extent(emitter),
        )

    return [Op(Unit.DMA_OUT, ("out_exponent",), (), build, note="exponents of the result")]


GEMM_STAGES: dict[str, Callable] = {
    "x_tile": load_x,
    "x_exponent_tile": load_x_exponent,
    "w_tile": load_w,
    "w_exponent_tile": load_w_exponent,
    "y": _drain,
    "bias_tile": load_bias,
    "y_bias": partial(_add, "bias", 0),
    "residual_tile": load_residual,
    "y_residual": partial(_add, "residual", None),
    "y_clamp": _clamp,
    "bits": _requantize_exponent,
    "q": _requantize,
    "out_exponent": _store_exponent,
}
