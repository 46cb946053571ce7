"""Quantization of activations at run time."""

from ..emit.quantize import lower_quantize
from ..operators import Quantize
from ..tiling.nest import Nest
from ..tiling.quantize import QuantizeTile, default_quantize_tile, quantize_nest
from ..tir.quantize import quantize
from ..tir.schedule import schedule_quantize
from .registry import Kind, register


def _nest(op: Quantize, tile: QuantizeTile, _weights: bytes) -> Nest:
    return quantize_nest(op, tile)


register(
    Quantize,
    Kind(
        read=lambda fields: Quantize(**fields),
        tile=QuantizeTile,
        expression=quantize,
        default_tile=default_quantize_tile,
        nest=_nest,
        schedule=schedule_quantize,
        lower=lower_quantize,
    ),
)
