"""The recipe of a machine that nobody names one for."""

from ...target.arch import Arch
from ...target.errors import ConfigError
from .recipe import DEFAULT_RECIPE, Recipe, load_recipe

PREFERRED = (DEFAULT_RECIPE, "int8", "int4", "fineq-w2a8", "microscopiq-w2a8")
"""The first whose weights a machine decodes is its default: 8 bits before 4 where nothing is kept
of outliers."""


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
