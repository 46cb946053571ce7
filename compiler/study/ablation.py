"""The steps of MicroScopiQ's Table 7, each a recipe: what each of its ideas costs and gains."""

import dataclasses
from dataclasses import dataclass

from ..quant.recipe import FP32, Recipe


@dataclass(frozen=True)
class Step:
    """A step, the paper's perplexity after it (LLaMA-3-8B, WikiText2; fp: 6.13), our recipe."""

    name: str
    published: float | None
    recipe: Recipe


def _ours(weight_format: str, options: dict, activation: str = FP32) -> Recipe:
    return Recipe("", "", "microscopiq", weight_format, activation, options=options)


NONE = float("inf")
DATA_FREE = {"damping": NONE}
"""Infinite damping leaves every error where it is."""
STEPS = (
    Step("INT4, per 128 inputs", 10.27, Recipe("", "", "rtn", "int4", FP32)),
    Step("MX-INT-4", 9.53, _ours("ms4", {"sigmas": NONE, **DATA_FREE})),
    Step("MX-INT-2", 39.48, _ours("ms2", {"sigmas": NONE, **DATA_FREE})),
    Step(
        "+ outliers, exponent per 128",
        10.96,
        _ours("ms2", {"outlier_block": 128, "prune": False, **DATA_FREE}),
    ),
    Step(
        "+ exponent per 8, reduced",
        8.89,
        _ours("ms2", {"prune": False, **DATA_FREE}),
    ),
    Step("+ pruned slots", 9.02, _ours("ms2", DATA_FREE)),
    Step("+ compensation", 8.97, _ours("ms2", {})),
    Step("+ MX-INT-8 activations", None, _ours("ms2", {}, "mx-int8")),
    Step(
        "+ migration 0.7",
        9.08,
        Recipe("", "", "microscopiq", "ms2", "mx-int8", migration=0.7),
    ),
)
"""In the paper's order. The reduction by 2^Isf (8.93 to 8.89) changes how an exponent is stored,
not its value, and is one step with the exponents per 8; migration and 8-bit activations are one
step in the paper, two here."""


def ablation_recipes() -> list[Recipe]:
    """Return the steps' recipes, named by their steps."""
    return [dataclasses.replace(step.recipe, name=step.name) for step in STEPS]
