"""Products as a user describes them: sizes and weight formats, checked without TVM."""

import re
from collections.abc import Callable
from pathlib import Path

from ...target.errors import ConfigError, unknown_name
from ...target.formats import WEIGHT_FORMATS
from ..quant.recipe import Recipe, load_recipe

FormatOf = Callable[[str], str]
"""The weight format of a layer, by the layer's name."""


def weight_formats(recipe: str | Path | Recipe, weight_format: str | None = None) -> FormatOf:
    """Return what gives a layer its weight format: a recipe, or one format for all.

    Raises
    ------
    ConfigError
        For an unknown recipe or format (nearest names first).
    """
    if weight_format is None:
        loaded = load_recipe(recipe)
        return lambda layer: loaded.for_layer(layer).weight_format
    if weight_format not in WEIGHT_FORMATS:
        raise ConfigError(unknown_name("weight format", weight_format, WEIGHT_FORMATS))
    return lambda _layer: weight_format


def parse_product(text: str, number: int) -> tuple[str, tuple[int, int, int, int]]:
    """Return the name of ``[NAME=]MxNxK[xCOUNT]``, the number's unless given, and its sizes.

    Raises
    ------
    ConfigError
        For text of another form or a dimension below 1.
    """
    name, _, sizes = text.rpartition("=")
    numbers = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?:x(\d+))?", sizes)
    dims = [int(size or 1) for size in numbers.groups()] if numbers else []
    if not dims or min(dims) < 1:
        raise ConfigError(
            f"product '{text}'; allowed: [NAME=]MxNxK[xCOUNT] with numbers from 1 on, such as "
            "ffn=128x3072x768x12"
        )
    m, n, k, count = dims
    return name or f"gemm{number}", (m, n, k, count)
