"""The recipe of a machine, and the method of a format, that nobody names one for."""

from dataclasses import replace

from ...target.arch import Arch
from ...target.errors import ConfigError
from .base import METHODS
from .recipe import DEFAULT_RECIPE, Recipe, load_recipe
from .solve import Compensation

PREFERRED = (DEFAULT_RECIPE, "int8", "int4", "fineq-w2a8", "microscopiq-w2a8")
"""The first whose weights a machine decodes is its default: 8 bits before 4 where nothing is kept
of outliers."""
METHOD_ORDER = ("microscopiq", "fineq", "olive", "rtn", "gptq")
"""Methods of single formats before those of all."""


def recipe_for(arch: Arch) -> Recipe:
    """Return the recipe that a machine gets if none is named.

    Raises
    ------
    ConfigError
        For a machine with none of the formats of `PREFERRED`.
    """
    for name in PREFERRED:
        recipe = load_recipe(name)
        if recipe.weight_format in arch.weight_formats:
            return recipe
    raise ConfigError(
        f"{arch.name} decodes {', '.join(arch.weight_formats)}, which no default recipe has: "
        "name a recipe"
    )


def method_for(format_name: str, data: bool) -> str | None:
    """Return the method of a weight format: with data one that makes errors good, if it has one.

    Without data the one that needs none, rounding to nearest if nothing of the format's own does
    more. None where data would change nothing.
    """
    able = [name for name in METHOD_ORDER if format_name in METHODS[name].formats]
    if data:
        able = [name for name in able if issubclass(METHODS[name].options, Compensation)]
    else:
        able = [name for name in able if not METHODS[name].needs_statistics]
    return able[0] if able else None


def source_recipe() -> Recipe:
    """Return the recipe of models that come quantized: of what they left in fp32."""
    description = "integers of the source; 8 bits for products that it left in fp32"
    return replace(load_recipe("int8"), name="source", description=description)
