"""Products: matrix multiplications and convolutions, with constant weights or two activations."""

from ...target.segment import panel_bytes
from ..emit.gemm import lower_gemm
from ..operators import Conv, Gemm
from ..tiling.cost import tile_cost
from ..tiling.gemm import gemm_nest
from ..tiling.legal import default_gemm_tile, legal_tiles
from ..tiling.nest import Nest
from ..tiling.tile import GemmTile
from ..tir.gemm import gemm
from ..tir.schedule import schedule_gemm
from .registry import Kind, register


def _read(fields: dict) -> Gemm:
    conv = fields.pop("conv")
    return Gemm(**fields, conv=Conv(**conv) if conv else None)


def _nest(op: Gemm, tile: GemmTile, weights: bytes) -> Nest:
    return gemm_nest(op, tile, int(panel_bytes(weights).max()) if weights else None)


register(
    Gemm,
    Kind(
        read=_read,
        tile=GemmTile,
        expression=gemm,
        default_tile=default_gemm_tile,
        nest=_nest,
        schedule=schedule_gemm,
        lower=lower_gemm,
        tiles=legal_tiles,
        cost=tile_cost,
    ),
)
