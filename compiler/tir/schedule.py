"""Tile schedules: real TIR schedules that put each transfer at its loop and tensorize."""

import tvm
from tvm import s_tir

from ...target.arch import Arch
from ...target.packing import blocks
from ..operators import Gemm, Operator, Quantize
from ..tiling.legal import default_gemm_tile
from ..tiling.tile import F32, TILE, GemmTile, columns_inside, to_text
from .gemm import gemm
from .intrinsics import ACC, OBUF, SPAD, WBUF, matmul_intrinsic
from .quantize import QuantizeTile, quantize

RING = 2
"""Slots of every on-chip buffer that is refilled in a loop: load, compute and store overlap."""
MAX_TILE_M = 1024


def scheduled(op: Operator, arch: Arch, tile: GemmTile | None = None) -> s_tir.Schedule:
    """Return the operator's tiled PrimFunc.

    Parameters
    ----------
    tile : GemmTile, optional
        Decisions of a product; those of the default schedule unless given.
    """
    if isinstance(op, Quantize):
        return schedule_quantize(op, default_quantize_tile(op, arch))
    return schedule_gemm(op, tile or default_gemm_tile(op, arch))


def default_quantize_tile(op: Quantize, arch: Arch) -> QuantizeTile:
    """Return the tile of a quantization: rows of one group, or chunks of a long one."""
    budget = min(arch.obuf_bytes // F32, arch.spad_bytes) // RING // 2
    group = min(op.group, op.length)
    if group > budget:
        return QuantizeTile(1, blocks(group, blocks(group, budget)))
    tiles = blocks(op.rows, min(max(1, budget // (group + 1)), MAX_TILE_M))
    return QuantizeTile(blocks(op.rows, tiles), group)


def schedule_gemm(op: Gemm, tile: GemmTile) -> s_tir.Schedule:
    """Tile, place the transfers and tensorize a GEMM.

    Loops: image, conv group, block of 128 columns, tile of rows, group of 128 inputs; within a
    group, planes of the array.
    """
    sch = s_tir.Schedule(tvm.IRModule({"main": gemm(op, tile).with_attr(TILE, to_text(tile))}))
    names = _block_names(sch)
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
        if name in names:
            sch.compute_at(sch.get_sblock(name), outer[3], preserve_unit_loops=True)
    row, column, g = sch.get_loops(sch.get_sblock("y"))[-3:]
    sch.reorder(g, row, column)
    psum = sch.get_sblock("psum")
    sch.compute_at(psum, g, preserve_unit_loops=True)
    nb, m0 = (outer[2], outer[3]) if tile.order == "columns" else (outer[3], outer[2])
    places = {
        "w_tile": ({"group": g, "block": nb, "all": outer[1]}[tile.w_home], WBUF),
        "x_tile": ({"group": g, "tile": m0, "all": outer[1]}[tile.x_home], SPAD),
        "w_scale_tile": (g, WBUF),
        "w_exponent_tile": (nb, WBUF),
        "x_exponent_tile": (m0, SPAD),
        "bias_tile": (nb, OBUF),
        "residual_tile": (outer[3], OBUF),
    }
    for name, (loop, scope) in places.items():
        if name in names:
            sch.compute_at(sch.get_sblock(name), loop, preserve_unit_loops=True)
            sch.set_scope(sch.get_sblock(name), 0, scope)
    for name in ("y", "y_bias", "y_residual", "y_clamp"):
        if name in names:
            sch.set_scope(sch.get_sblock(name), 0, OBUF)
    for name in ("bits", "exponent", "q"):
        if name in names:
            sch.set_scope(sch.get_sblock(name), 0, SPAD)
    sch.set_scope(psum, 0, ACC)
    row, column, k = sch.get_loops(psum)[-3:]
    ns, nt = sch.split(column, [None, tile.array_n])
    ks, kt = sch.split(k, [None, tile.array_k])
    planes = (ks, ns) if columns_inside(op, tile) else (ns, ks)
    sch.reorder(*planes, row, nt, kt)
    sch.decompose_reduction(psum, planes[0])
    dtype = "int32" if op.weight_format else "int8"
    sch.tensorize(row, matmul_intrinsic(tile.tile_m, tile.array_n, tile.array_k, dtype))
    return sch


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
    sch = s_tir.Schedule(tvm.IRModule({"main": quantize(op, tile)}))
    two_passes = "x_again_tile" in _block_names(sch)
    outer = {}
    for name in ("bits", "out"):
        r, g, p, j = sch.get_loops(sch.get_sblock(name))
        r0, r1 = sch.split(r, [None, tile.tile_rows])
        sch.reorder(r0, g, p, r1, j)
        outer[name] = (g, p)
    (g, p), (g_out, p_out) = outer["bits"], outer["out"]
    for name in ("exponent", "out_exponent"):
        sch.reverse_compute_at(sch.get_sblock(name), g, preserve_unit_loops=True)
    sch.compute_at(sch.get_sblock("q"), p_out if two_passes else g_out, preserve_unit_loops=True)
    if two_passes:
        sch.compute_at(sch.get_sblock("x_again_tile"), p_out, preserve_unit_loops=True)
        sch.set_scope(sch.get_sblock("x_again_tile"), 0, OBUF)
    # The first pass (exponent) and the second (codes) share the loops over rows and groups.
    g = sch.merge(g, g_out)
    sch.compute_at(sch.get_sblock("x_tile"), p if two_passes else g, preserve_unit_loops=True)
    sch.set_scope(sch.get_sblock("x_tile"), 0, OBUF)
    for name in ("bits", "exponent", "q"):
        sch.set_scope(sch.get_sblock(name), 0, SPAD)
    return sch


def _block_names(sch: s_tir.Schedule) -> set[str]:
    root = sch.get_sblock("root")
    return {sch.get(block).name_hint for block in sch.get_child_blocks(root)}
