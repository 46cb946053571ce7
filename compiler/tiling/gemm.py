"""The loop nest of a product: its stages and buffers, from the operator and its decisions."""

import functools

from ...target.arch import Arch
from ...target.formats import MACRO_BLOCK
from ...target.isa.spec import Mem
from ..operators import Gemm
from .nest import F32, I32, Axis, BufferRow, Nest, Stage, round_up
from .tile import GemmTile, columns_inside, largest_panel

CORE = "psum_update_o"
"""The stage that is tensorized."""
X_HOME = {"group": "g", "tile": "m", "all": "c"}
W_HOME = {"group": "g", "block": "nb", "all": "c"}


def gemm_nest(op: Gemm, tile: GemmTile | None = None, panel: int | None = None) -> Nest:
    """Return the loop nest of a product.

    Without a tile its extents are those of the reference, which isn't padded.

    Parameters
    ----------
    panel : int, optional
        Bytes of the largest weight panel; without it those that no panel exceeds.
    """
    axes = _axes(op, tile)
    if tile is None:
        return Nest(axes, (), _stages(op, "", "", "", ""), (), CORE, "m")
    tiles = ("nb", "m") if tile.order == "columns" else ("m", "nb")
    planes = ("ks", "ns") if columns_inside(op, tile) else ("ns", "ks")
    loops = ("i", "c", *tiles, "g", *planes)
    if op.weight_format and panel is None:
        panel = largest_panel(op.weight_format, min(op.n, MACRO_BLOCK), min(op.k, op.group))
    stages = _stages(op, loops[3], X_HOME[tile.x_home], W_HOME[tile.w_home], planes[1])
    return Nest(axes, loops, stages, _buffers(op, panel or 0), CORE, "m")


def footprint(op: Gemm, tile: GemmTile, panel: int | None = None) -> dict[str, int]:
    """Return the bytes of each memory that a tile's buffers take; see `gemm_nest`."""
    return gemm_nest(op, tile, panel).footprint(tile.load_slots, tile.result_slots)


def fits(op: Gemm, tile: GemmTile, arch: Arch, panel: int | None = None) -> bool:
    """Tell whether a tile's buffers fit the memories of an architecture."""
    need = footprint(op, tile, panel)
    return all(size <= getattr(arch, f"{name}_bytes") for name, size in need.items())


def _axes(op: Gemm, tile: GemmTile | None) -> dict[str, Axis]:
    if tile is None:
        return {**_fixed_axes(op, 1, 1), "m": Axis("", op.m, op.m)}
    rows = Axis("tiles of rows", round_up(op.m, tile.tile_m), tile.tile_m)
    return {**_fixed_axes(op, tile.array_n, tile.array_k), "m": rows}


@functools.lru_cache(maxsize=256)
def _fixed_axes(op: Gemm, array_n: int, array_k: int) -> dict[str, Axis]:
    """Return the axes on which no decision about rows bears."""
    # What lies within a tile is there for the largest sizes.
    block = round_up(min(int(op.n), MACRO_BLOCK), array_n)
    group = round_up(min(int(op.k), op.group), array_k)
    return {
        "i": Axis("images", op.batch, 1),
        "c": Axis("conv groups", op.conv_groups, 1),
        "nb": Axis(f"blocks of {MACRO_BLOCK} columns", op.column_blocks, 1),
        "g": Axis(f"groups of {op.group} inputs", op.groups, 1),
        "ns": Axis("array columns", block, array_n),
        "ks": Axis("array rows", group, array_k),
        # Within a tile.
        "nj": Axis("", block, block),
        "kk": Axis("", group, group),
        "one": Axis("", 1, 1),
        "side": Axis("", op.side_by_side, op.side_by_side),
    }


@functools.lru_cache(maxsize=256)
def _stages(op: Gemm, tile: str, x_home: str, w_home: str, plane: str) -> dict[str, Stage]:
    """Return the stages in order; `tile` is the loop over tiles of results."""
    lead = "c" if op.weight_format else "i"
    rows = ("i", "c", "nb", "m")
    result = (*rows, "nj")
    stages = [
        Stage("w_tile", (lead, "nb", "g", "nj", "kk"), w_home, "w", feeds=CORE),
        Stage("x_tile", ("i", "c", "g", "m", "kk"), x_home, "x", feeds=CORE),
    ]
    if not (op.weight_format or op.integers):
        axes = ("i", "nb", "nj", "g")
        stages.append(Stage("w_exponent_tile", axes, "nb", "w_exponent", feeds="y"))
    side = ("side",) if op.side_by_side > 1 else ()
    exponents = ("i", "c", *side) if op.by_image else ("i", "m", "g")
    if not op.integers:
        stages.append(Stage("x_exponent_tile", exponents, "m", "x_exponent", feeds="y"))
    sums = ("i", "c", "g", "nb", "m")
    stages += [
        Stage("psum_init", (*sums, "nj"), "g", "acc"),
        # Where its sums start, then its weights.
        Stage(CORE, (*sums, "ns", lead, "nb", "g", "ns", "ks"), plane, "acc"),
    ]
    if op.weight_format and not op.integers:
        stages.append(Stage("w_scale_tile", ("c", "nb", "g", "nj"), "g", "w", feeds="y"))
    stages.append(Stage("y", (*result, "g"), "g", "y", reduced=1))
    if op.bias:
        stages.append(Stage("bias_tile", ("c", "nb", "nj"), "nb", "bias", feeds="y_bias"))
        stages.append(Stage("y_bias", result, tile, "y"))
    if op.residual:
        stages.append(Stage("residual_tile", result, tile, "residual", feeds="y_residual"))
        stages.append(Stage("y_residual", result, tile, "y"))
    if op.clamps:
        stages.append(Stage("y_clamp", result, tile, "y"))
    if op.requantize:
        stages += [
            Stage("bits", result, tile, "out_exponent", reduced=1),
            Stage("exponent", rows, tile, "out_exponent"),
            Stage("out_exponent", rows, tile),
            Stage("q", result, tile, "q"),
        ]
    stages.append(Stage("out", result, tile))
    return {stage.name: stage for stage in stages}


@functools.lru_cache(maxsize=256)
def _buffers(op: Gemm, panel: int) -> tuple[BufferRow, ...]:
    rows, columns = ("m",), ("nj",)
    packed = bool(op.weight_format)
    w_rows = ("nb", "g") if packed else ("nb", "nj")
    x_exponent = (("one",), ("side",)) if op.by_image else (rows, ("g",))
    spad, wbuf, acc, obuf = Mem.SPAD, Mem.WBUF, Mem.ACC, Mem.OBUF
    return (
        BufferRow("x", spad, "x_tile", rows, ("g", "kk")),
        BufferRow("x_exponent", spad, "x_exponent_tile", *x_exponent),
        BufferRow("acc", acc, "psum_init", rows, columns, I32, result=True),
        BufferRow("y", obuf, "out", rows, columns, F32, result=True),
        BufferRow("bias", obuf, "bias_tile", ("one",), columns, F32),
        BufferRow("residual", obuf, "residual_tile", rows, columns, F32),
        BufferRow("q", spad, "q", rows, columns, result=True),
        BufferRow("out_exponent", spad, "out_exponent", rows, ("one",), result=True),
        BufferRow("w_exponent", wbuf, "w_exponent_tile", columns, ("g",)),
        BufferRow("w", wbuf, "w_tile", w_rows, ("g", "kk"), pitch=panel),
    )
