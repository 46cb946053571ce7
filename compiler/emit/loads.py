"""Transfers of a GEMM's operands from off the chip."""

from functools import partial

from ...target.formats import MACRO_BLOCK
from ...target.isa import instructions as isa
from ...target.isa.spec import Mem, Unit
from ..operators import Conv, Gemm
from ..tiling.nest import F32
from .allocate import affine
from .state import Emitter, Op
from .tree import Linear, LoopNode, StageNode

ZERO = Linear()


def row_extent(emitter: Emitter, m: Linear) -> int:
    return emitter.clip(emitter.tile_rows, emitter.operator.m, m)


def column_extent(emitter: Emitter, nb: Linear) -> int:
    return emitter.clip(MACRO_BLOCK, emitter.operator.n, nb * MACRO_BLOCK)


def input_extent(emitter: Emitter, g: Linear) -> int:
    group = emitter.operator.group
    return emitter.clip(group, emitter.operator.k, g * group)


def panel_number(op: Gemm, nb: Linear, g: Linear) -> Linear:
    """Return the place of a panel among those of a conv group."""
    return nb * op.groups + g


def fixed_extent(emitter: Emitter, count: int = 1) -> int:
    return emitter.clip(count, count, ZERO)


def load_x(op: Gemm, index, stage: StageNode):
    note = "activation rows of this tile, one group of inputs"
    if stage.extent("g") > 1:
        note = "activation rows, all inputs"
    build = partial(_rows, op) if op.conv is None else partial(_patches, op, op.conv)
    return [Op(Unit.DMA_IN, (), ("x",), partial(build, index["x"], stage), note=note)]


def _x_extents(op: Gemm, stage: StageNode, emitter: Emitter) -> dict[str, int]:
    whole = stage.extent("g") > 1
    inputs = fixed_extent(emitter, op.k) if whole else input_extent(emitter, stage["g"])
    return {"rows": emitter.clip(stage.extent("m"), op.m, stage["m"]), "cols": inputs}


def _rows(op: Gemm, arg: int, stage: StageNode, emitter: Emitter, path):
    i, g, m = stage["i"], stage["g"], stage["m"]
    return isa.DmaLoad(
        mem=Mem.SPAD,
        dst=emitter.at("x", m, ZERO, path),
        dst_pitch=emitter.pitch("x"),
        arg=arg,
        src=affine(i * (op.m * op.k) + m * op.k + g * op.group, path),
        src_pitch=op.k,
        src_step=1,
        element=1,
        **_x_extents(op, stage, emitter),
    )


def _patches(op: Gemm, conv: Conv, arg: int, stage: StageNode, emitter: Emitter, path):
    image = conv.channels * conv.height * conv.width
    return isa.DmaIm2col(
        mem=Mem.SPAD,
        dst=emitter.at("x", stage["m"], ZERO, path),
        dst_pitch=emitter.pitch("x"),
        arg=arg,
        src=affine(stage["i"] * (op.conv_groups * image) + stage["c"] * image, path),
        row0=affine(stage["m"], path),
        col0=affine(stage["g"] * op.group, path),
        **_x_extents(op, stage, emitter),
        height=conv.height,
        width=conv.width,
        out_width=conv.out_width,
        kernel_h=conv.kernel_h,
        kernel_w=conv.kernel_w,
        stride_h=conv.stride_h,
        stride_w=conv.stride_w,
        pad_top=conv.pad_top,
        pad_left=conv.pad_left,
        dilation_h=conv.dilation_h,
        dilation_w=conv.dilation_w,
    )


def load_x_exponent(op: Gemm, index, stage: StageNode):
    def build(emitter, path):
        if op.by_image:
            row, src, rows, cols = (
                ZERO,
                (stage["i"] * op.conv_groups + stage["c"]) * op.side_by_side,
                fixed_extent(emitter),
                fixed_extent(emitter, op.side_by_side),
            )
        else:
            i, row, g = stage["i"], stage["m"], stage["g"]
            src = i * (op.m * op.groups) + row * op.groups + g
            rows, cols = row_extent(emitter, row), fixed_extent(emitter, op.groups)
        return isa.DmaLoad(
            mem=Mem.SPAD,
            dst=emitter.at("x_exponent", row, ZERO, path),
            dst_pitch=emitter.pitch("x_exponent"),
            arg=index["x_exponent"],
            src=affine(src, path),
            src_pitch=1 if op.by_image else op.groups,
            src_step=1,
            element=1,
            rows=rows,
            cols=cols,
        )

    return [Op(Unit.DMA_IN, (), ("x_exponent",), build, note="activation exponents")]


def load_w(op: Gemm, index, stage: StageNode):
    lead = stage["c" if op.weight_format else "i"]
    nb, g = stage["nb"], stage["g"]
    column_blocks, groups = stage.extent("nb"), stage.extent("g")
    # Panels that stay are loaded by a loop of their own; they follow each other in the segment.
    panels = LoopNode("panels", column_blocks * groups)
    step = Linear(0, ((panels, 1),)) if panels.extent > 1 else ZERO

    def panel(emitter, path):
        number = lead * (op.column_blocks * op.groups) + panel_number(op, nb, g) + step
        return isa.DmaWeight(
            dst=emitter.at("w", panel_number(op, nb, g) + step, ZERO, path),
            panel=affine(number, path),
            capacity=emitter.pitch("w"),
        )

    def rows(emitter, path):
        columns = column_extent(emitter, nb) if column_blocks == 1 else fixed_extent(emitter, op.n)
        return isa.DmaLoad(
            mem=Mem.WBUF,
            dst=emitter.at("w", ZERO, ZERO, path),
            dst_pitch=emitter.pitch("w"),
            arg=index["w"],
            src=affine(lead * (op.n * op.k) + nb * (MACRO_BLOCK * op.k) + g * op.group, path),
            src_pitch=op.k,
            src_step=1,
            element=1,
            rows=columns,
            cols=input_extent(emitter, g) if groups == 1 else fixed_extent(emitter, op.k),
        )

    if not op.weight_format:
        return [Op(Unit.DMA_IN, (), ("w",), rows, note="rows of the second operand")]
    note = f"weight panel: {op.group} inputs x {MACRO_BLOCK} outputs"
    load = Op(Unit.DMA_IN, (), ("w",), panel, note=note)
    if panels.extent == 1:
        return [load]
    panels.body.append(load)
    return [panels]


def load_w_exponent(op: Gemm, index, stage: StageNode):
    i, nb, g = stage["i"], stage["nb"], stage["g"]

    def build(emitter, path):
        src = i * (op.n * op.groups) + nb * (MACRO_BLOCK * op.groups) + g
        return isa.DmaLoad(
            mem=Mem.WBUF,
            dst=emitter.at("w_exponent", ZERO, ZERO, path),
            dst_pitch=op.groups,
            arg=index["w_exponent"],
            src=affine(src, path),
            src_pitch=op.groups,
            src_step=1,
            element=1,
            rows=column_extent(emitter, nb),
            cols=fixed_extent(emitter, op.groups),
        )

    return [Op(Unit.DMA_IN, (), ("w_exponent",), build, note="exponents of the second operand")]


def output_offset(op: Gemm, i, c, nb, m) -> tuple[Linear, int, int]:
    """Return element offset, row pitch and column step of the output's layout."""
    if op.conv:
        channel = i * (op.conv_groups * op.n) + c * op.n + nb * MACRO_BLOCK
        return channel * op.m + m, 1, op.m
    return i * (op.m * op.n) + m * op.n + nb * MACRO_BLOCK, op.n, 1


def load_bias(op: Gemm, index, stage: StageNode):
    c, nb = stage["c"], stage["nb"]

    def build(emitter, path):
        return isa.DmaLoad(
            mem=Mem.OBUF,
            dst=emitter.at("bias", ZERO, ZERO, path),
            dst_pitch=emitter.pitch("bias"),
            arg=index["bias"],
            src=affine((c * op.n + nb * MACRO_BLOCK) * F32, path),
            src_pitch=0,
            src_step=F32,
            element=F32,
            rows=fixed_extent(emitter),
            cols=column_extent(emitter, nb),
        )

    return [Op(Unit.DMA_IN, (), ("bias",), build, note="bias of this block of columns")]


def load_residual(op: Gemm, index, stage: StageNode):
    i, c, nb, m = (stage[axis] for axis in ("i", "c", "nb", "m"))
    offset, pitch, step = output_offset(op, i, c, nb, m)

    def build(emitter, path):
        return isa.DmaLoad(
            mem=Mem.OBUF,
            dst=emitter.at("residual", m, ZERO, path),
            dst_pitch=emitter.pitch("residual"),
            arg=index["residual"],
            src=affine(offset * F32, path),
            src_pitch=pitch * F32,
            src_step=step * F32,
            element=F32,
            rows=row_extent(emitter, m),
            cols=column_extent(emitter, nb),
        )

    return [Op(Unit.DMA_IN, (), ("residual",), build, note="residual tile")]
