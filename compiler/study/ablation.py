"""The steps of MicroScopiQ's Table 7, each a recipe: what each of its ideas costs and gains."""

import dataclasses
from dataclasses import dataclass

from ...target.errors import ConfigError
from ..quant.recipe import FP32, Recipe

BITS = (2, 4)
"""Bits of a slot that the ideas can be added to; the paper's table has 2."""
NONE = float("inf")
DATA_FREE = {"damping": NONE, "upstream": False}
"""Infinite damping leaves every error where it is; errors of layers before are left, too."""
ALPHA = 0.7
"""The paper's share of the activations' range that goes into the weights."""


@dataclass(frozen=True)
class Step:
    """A step, the paper's perplexity after it (LLaMA-3-8B, WikiText2; fp: 6.13), our recipe.

    Attributes
    ----------
    published : float or None
        None where the table has no such step, or not in this many bits.
    expected : int
        1 where the table's perplexity falls at this step, -1 where it rises, 0 if it can't say.
    """

    name: str
    published: float | None
    recipe: Recipe
    expected: int = 0


def steps(bits: int = 2) -> tuple[Step, ...]:
    """Return the steps in the paper's order, the ideas added to slots of so many bits.

    The reduction by 2^Isf (8.93 to 8.89) changes how an exponent is stored, not its value, and is
    one step with the exponents per 8; migration and 8-bit activations are one step in the paper,
    two here. Bias correction is ours: it costs no bits and no cycles.

    Raises
    ------
    ConfigError
        For another number than `BITS`.
    """
    if bits not in BITS:
        raise ConfigError(f"bits = {bits}; allowed: {', '.join(map(str, BITS))}")
    weights = f"ms{bits}"
    plain = {"sigmas": NONE, **DATA_FREE}
    wide = {"outlier_block": 128, "prune": False, **DATA_FREE}
    table = (
        Step("INT4, per 128 inputs", 10.27, _recipe("int4", {}, method="rtn")),
        Step("MX-INT-4", 9.53, _recipe("ms4", plain), 1),
        Step("MX-INT-2", 39.48, _recipe("ms2", plain), -1),
        Step("+ outliers, exponent per 128", 10.96, _recipe(weights, wide), 1),
        Step("+ exponent per 8, reduced", 8.89, _recipe(weights, {"prune": False, **DATA_FREE}), 1),
        Step("+ pruned slots", 9.02, _recipe(weights, DATA_FREE), -1),
        Step("+ compensation", 8.97, _recipe(weights, {}), 1),
        Step("+ bias correction", None, _recipe(weights, {}, corrected=True)),
        Step("+ MX-INT-8 activations", None, _recipe(weights, {}, "mx-int8", corrected=True)),
        Step(f"+ migration {ALPHA}", 9.08, _recipe(weights, {}, "mx-int8", ALPHA, corrected=True)),
    )
    if bits == 2:
        return table
    kept = (step for step in table if step.recipe.weight_format != "ms2")
    return tuple(dataclasses.replace(step, published=None) for step in kept)


def ablation_recipes(bits: int = 2) -> list[Recipe]:
    """Return the steps' recipes, named by their steps."""
    return [dataclasses.replace(step.recipe, name=step.name) for step in steps(bits)]


def _recipe(
    weight_format: str,
    options: dict,
    activation: str = FP32,
    migration: float | None = None,
    method: str = "microscopiq",
    corrected: bool = False,
) -> Recipe:
    return Recipe("", "", method, weight_format, activation, options=options, migration=migration,
                  bias_correction=corrected)  # fmt: skip
