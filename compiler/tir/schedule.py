"""Tile schedules: real TIR schedules that put each transfer at its loop and tensorize."""

import tvm
from tvm import s_tir

from ..operators import Gemm, Quantize
from ..tiling.gemm import CORE, gemm_nest
from ..tiling.nest import Nest
from ..tiling.quantize import QuantizeTile, quantize_nest
from ..tiling.tile import TILE, GemmTile, to_text
from .gemm import gemm
from .intrinsics import SCOPES, matmul_intrinsic
from .quantize import quantize


def schedule_gemm(op: Gemm, tile: GemmTile) -> s_tir.Schedule:
    """Tile, place the transfers and tensorize a GEMM, as the table of its stages says."""
    nest = gemm_nest(op, tile)
    sch = s_tir.Schedule(tvm.IRModule({"main": gemm(op, tile).with_attr(TILE, to_text(tile))}))
    outer = _outer_loops(sch, "out", tile)
    if op.requantize:
        sch.compute_at(sch.get_sblock("q"), outer[3], preserve_unit_loops=True)
        first = _outer_loops(sch, "bits", tile)
        for name in ("exponent", "out_exponent"):
            sch.reverse_compute_at(sch.get_sblock(name), first[3], preserve_unit_loops=True)
        # Exponents and codes of a tile come from the same loops.
        sch.merge(first[3], outer[3])
        outer = sch.get_loops(sch.get_sblock("bits"))[:4]
    for name in ("y_clamp", "y_residual", "y_bias", "y"):
        if name in nest.stages:
            sch.compute_at(sch.get_sblock(name), outer[3], preserve_unit_loops=True)
    row, column, g = sch.get_loops(sch.get_sblock("y"))[-3:]
    sch.reorder(g, row, column)
    psum = sch.get_sblock("psum")
    sch.compute_at(psum, g, preserve_unit_loops=True)
    loops = dict(zip(nest.loops, [*outer, g], strict=False))
    for stage in nest.stages.values():
        if stage.feeds:
            loop = loops[stage.home]
            sch.compute_at(sch.get_sblock(stage.name), loop, preserve_unit_loops=True)
    _set_scopes(sch, nest, {"psum_init": "psum", CORE: ""})
    row, column, k = sch.get_loops(psum)[-3:]
    ns, nt = sch.split(column, [None, tile.array_n])
    ks, kt = sch.split(k, [None, tile.array_k])
    planes = [{"ns": ns, "ks": ks}[axis] for axis in nest.loops[-2:]]
    sch.reorder(*planes, row, nt, kt)
    sch.decompose_reduction(psum, planes[0])
    dtype = "int32" if op.weight_format else "int8"
    sch.tensorize(row, matmul_intrinsic(tile.tile_m, tile.array_n, tile.array_k, dtype))
    return sch


def _set_scopes(sch: s_tir.Schedule, nest: Nest, blocks: dict[str, str]) -> None:
    """Put what each stage fills into its memory; `blocks` has names before a reduction is split."""
    memory = {row.name: row.memory for row in nest.buffers}
    for stage in nest.stages.values():
        block = blocks.get(stage.name, stage.name)
        if stage.buffer and block:
            sch.set_scope(sch.get_sblock(block), 0, SCOPES[memory[stage.buffer]])


def _outer_loops(sch: s_tir.Schedule, block: str, tile: GemmTile) -> list:
    """Split rows into tiles; return the loops over images, conv groups and the two of the tile."""
    i, c, nb, m = sch.get_loops(sch.get_sblock(block))[:4]
    m0, m1 = sch.split(m, [None, tile.tile_m])
    if tile.order == "columns":
        return [i, c, nb, m0]
    sch.reorder(m0, nb, m1)
    return [i, c, m0, nb]


def schedule_quantize(op: Quantize, tile: QuantizeTile) -> s_tir.Schedule:
    """Tile a run-time quantization: rows, groups, then chunks of a long group."""
    nest = quantize_nest(op, tile)
    sch = s_tir.Schedule(tvm.IRModule({"main": quantize(op, tile)}))
    two_passes = "x_again_tile" in nest.stages
    outer = {}
    for name in ("bits", "out"):
        _, r, g, p, j = sch.get_loops(sch.get_sblock(name))
        r0, r1 = sch.split(r, [None, tile.tile_rows])
        sch.reorder(r0, g, p, r1, j)
        outer[name] = (g, p)
    (g, p), (g_out, p_out) = outer["bits"], outer["out"]
    for name in ("exponent", "out_exponent"):
        sch.reverse_compute_at(sch.get_sblock(name), g, preserve_unit_loops=True)
    sch.compute_at(sch.get_sblock("q"), p_out if two_passes else g_out, preserve_unit_loops=True)
    if two_passes:
        sch.compute_at(sch.get_sblock("x_again_tile"), p_out, preserve_unit_loops=True)
    # The first pass (exponent) and the second (codes) share the loops over rows and groups.
    g = sch.merge(g, g_out)
    sch.compute_at(sch.get_sblock("x_tile"), p if two_passes else g, preserve_unit_loops=True)
    _set_scopes(sch, nest, {})
    return sch
