"""Instructions of a GEMM's products: weights into planes, merges, rows through the array."""

import math

from ...target.arch import Arch
from ...target.formats import MACRO_BLOCK, WEIGHT_FORMATS
from ...target.isa import instructions as isa
from ...target.isa.spec import Affine, Unit
from ...target.replay import unfolded_rows
from ...target.weight import blocks
from ..operators import Gemm
from ..symbolic import Symbolic
from ..tiling.tile import REPLAY, array_limits
from .allocate import affine
from .loads import ZERO, fixed_extent, panel_number, row_extent
from .state import Emitter, Op
from .tree import Linear, LoopNode, StageNode

PLANE = "plane"


def products(emitter: Emitter, weights: bytes, op: Gemm, index, stage: StageNode):
    """Return the ops of a plane, by what its tile says of outliers."""
    if emitter.tile.outliers == REPLAY:
        return replay(emitter, weights, op, stage)
    return matmul(emitter.arch.weight_planes, op, index, stage)


def replay(emitter: Emitter, weights: bytes, op: Gemm, stage: StageNode):
    """Return the ops of a plane of an unfolded panel: of its own rows, then of its outliers'.

    The loop over inputs gets as many turns as the longest of these panels needs; where one is
    shorter, planes are empty.
    """
    g, nb, m, column = (stage[axis] for axis in ("g", "nb", "m", "ns"))
    array_n = stage.extent("ns")
    loop, step = _inputs_loop(stage, op, emitter.arch)
    rows = unfolded_rows(weights, array_n, emitter.arch.replay_columns)
    loop.extent = blocks(int(rows.max()), step)
    row = Linear(0, ((loop, step),)) if loop.extent > 1 else ZERO

    def preload(emitter, path):
        return isa.PreloadReplay(
            plane=_plane(emitter, path, {}),
            src=emitter.at("w", panel_number(op, nb, g), ZERO, path),
            format=WEIGHT_FORMATS[op.weight_format].code,
            row0=affine(row, path),
            col0=affine(column, path),
            rows=fixed_extent(emitter, step),
            cols=emitter.clip(array_n, op.n, nb * MACRO_BLOCK + column),
        )

    def stream(emitter, path):
        return isa.Matmul(
            plane=_plane(emitter, path, {}),
            src=emitter.at("x", stage["i"] * op.m + m, g * op.group, path),
            src_pitch=emitter.pitch("x"),
            dst=emitter.at("acc", m, column, path),
            dst_pitch=emitter.pitch("acc"),
            rows=row_extent(emitter, m),
            accumulate=affine(row, path),
        )

    ops = [
        Op(Unit.WLOAD, ("w",), (PLANE,), preload, note="rows of the panel, or of its outliers"),
        Op(Unit.ARRAY, ("x", PLANE), ("acc",), stream, note="stream the rows"),
    ]
    if loop in stage.loops or loop.extent == 1:
        return ops
    loop.body += ops
    return [loop]


def _inputs_loop(stage: StageNode, op: Gemm, arch: Arch) -> tuple[LoopNode, int]:
    """Return the loop over a group's inputs and its step; a new one if they fit one plane."""
    if stage["ks"].terms:
        ((loop, step),) = stage["ks"].terms
        return loop, step
    return LoopNode("array rows", 1), array_limits(op, arch)[1]


def matmul(planes: int, op: Gemm, _index, stage: StageNode):
    """Return the ops of one of so many planes: preload, merges, the rows that stream through it."""
    g, nb, m, column, k = (stage[axis] for axis in ("g", "nb", "m", "ns", "ks"))
    array_n, array_k = stage.extent("ns"), stage.extent("ks")
    left_out = _left_out(op, planes, stage)

    def input_rows(emitter):
        return emitter.clip(array_k, op.k, g * op.group + k)

    def part(emitter, path):
        return {
            "plane": _plane(emitter, path, left_out),
            "rows": input_rows(emitter),
            "cols": emitter.clip(array_n, op.n, nb * MACRO_BLOCK + column),
        }

    def preload(emitter, path):
        if op.weight_format:
            return isa.Preload(**panel_part(emitter, path))
        return isa.PreloadRows(
            **part(emitter, path),
            src=emitter.at("w", nb * MACRO_BLOCK + column, g * op.group + k, path),
            src_pitch=emitter.pitch("w"),
        )

    def panel_part(emitter, path):
        return {
            **part(emitter, path),
            "src": emitter.at("w", panel_number(op, nb, g), ZERO, path),
            "format": WEIGHT_FORMATS[op.weight_format].code,
            "row0": affine(k, path),
            "col0": affine(column, path),
        }

    def stream(emitter, path):
        return isa.Matmul(
            plane=_plane(emitter, path, left_out),
            src=emitter.at("x", stage["i"] * op.m + m, g * op.group + k, path),
            src_pitch=emitter.pitch("x"),
            dst=emitter.at("acc", m, column, path),
            dst_pitch=emitter.pitch("acc"),
            rows=row_extent(emitter, m),
            accumulate=affine(k, path),
        )

    def no_inputs(emitter, _path):
        return isa.Break(input_rows(emitter))

    ops = [Op(Unit.CONTROL, (), (), no_inputs, note="the inputs end here")] if left_out else []
    ops += [Op(Unit.WLOAD, ("w",), (PLANE,), preload, note="part of the panel into a weight plane")]
    if op.weight_format and WEIGHT_FORMATS[op.weight_format].has_outliers:
        ops.append(
            Op(
                Unit.RECON,
                ("w",),
                (PLANE,),
                lambda emitter, path: isa.ReconConfig(**panel_part(emitter, path)),
                note="merges of this plane's outliers",
            )
        )
    ops.append(Op(Unit.ARRAY, ("x", PLANE), ("acc",), stream, note="stream the rows"))
    return ops


def _left_out(op: Gemm, planes: int, stage: StageNode) -> dict[LoopNode, int]:
    """Return how many planes without inputs a `break` leaves out of a whole loop over groups.

    Only the last group can end before its last plane. There, where columns are the outer loop,
    planes of several columns follow each other at another distance than in the groups before; where
    that puts them into other slots of the ring, no operand can tell, and the empty planes stay. So
    they do where only a call knows how many there are.
    """
    if not stage["g"].terms or not stage["ks"].terms or isinstance(op.k, Symbolic):
        return {}
    (groups, _), (rows, _) = stage["g"].terms[0], stage["ks"].terms[0]
    at, inner = stage.loops.index(groups), stage.loops.index(rows)
    outside, inside = stage.loops[at + 1 : inner], stage.loops[inner + 1 :]
    empty = op.groups * rows.extent - blocks(op.k, stage.extent("ks"))
    empty *= math.prod(loop.extent for loop in inside)
    columns = math.prod(loop.extent for loop in outside)
    if empty == 0 or (columns > 1 and empty % planes):
        return {}
    return {groups: empty * columns}


def _plane(emitter: Emitter, path: tuple[LoopNode, ...], left_out: dict[LoopNode, int]) -> Affine:
    """Return the operand that goes through the weight planes in turn."""
    ring = affine(ZERO, path, emitter.placed[PLANE], left_out)
    return Affine(0, ring.strides, ring.turns, ring.slots, 1 if ring.slots > 1 else 0)
