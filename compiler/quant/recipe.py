"""Recipes: which algorithm and weight format each layer gets, as data."""

import dataclasses
import fnmatch
from dataclasses import dataclass
from pathlib import Path

from ...target.errors import ConfigError, unknown_name
from ...target.formats import ACTIVATION_FORMATS, DEFAULT_ACTIVATION, WEIGHT_FORMATS
from ...target.tables import read_table, table_names
from . import methods as _registered  # noqa: F401  (importing registers the algorithms)
from .base import METHODS

RECIPE_DIR = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "microscopiq-w4a8"
OUTPUT_ORDERS = ("source", "norm")
"""Orders of a linear layer's output channels: the model's, or macro-blocks by norm."""


@dataclass(frozen=True)
class Override:
    """A method and format for the layers whose name matches a pattern."""

    pattern: str
    method: str
    weight_format: str


@dataclass(frozen=True)
class Recipe:
    """What quantization does to a model; `overrides` are tried in order, first match wins.

    `output_order` is one of `OUTPUT_ORDERS`; it concerns layers whose format has outliers.
    `migration` is how much of the activations' range goes into the weights, 0 to 1
    (`passes.migrate`): it needs calibration data.
    """

    name: str
    description: str
    method: str
    weight_format: str
    activation: str
    overrides: tuple[Override, ...] = ()
    output_order: str = "source"
    migration: float | None = None

    def for_layer(self, name: str) -> tuple[str, str]:
        """Return (method, weight format) of a layer by its name."""
        for override in self.overrides:
            if fnmatch.fnmatchcase(name, override.pattern):
                return override.method, override.weight_format
        return self.method, self.weight_format


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return table_names(RECIPE_DIR)


def load_recipe(name_or_path: str | Path | Recipe) -> Recipe:
    """Return a recipe by name or from a TOML file.

    Raises
    ------
    ConfigError
        For an unknown name (nearest names first) or mistakes in the file, all at once.
    """
    if isinstance(name_or_path, Recipe):
        return name_or_path
    return _from_table(*read_table("recipe", name_or_path, RECIPE_DIR))


def _from_table(table: dict, where: str) -> Recipe:
    fields = dataclasses.fields(Recipe)
    known = {f.name for f in fields}
    mistakes = [unknown_name("key", key, known) for key in sorted(table.keys() - known)]
    needed = [f.name for f in fields if f.default is dataclasses.MISSING]
    mistakes += [f"missing key '{key}'" for key in needed if key not in table]
    overrides = table.get("overrides", [])
    if not isinstance(overrides, list) or not all(isinstance(row, dict) for row in overrides):
        mistakes.append(f"overrides = {overrides!r}: [[overrides]] tables are needed")
        overrides = []
    rows = [table, *overrides]
    for row in rows:
        if "method" in row and row["method"] not in METHODS:
            mistakes.append(unknown_name("method", str(row["method"]), METHODS))
        elif "method" in row and row.get("weight_format") not in METHODS[row["method"]].formats:
            mistakes.append(
                f"method '{row['method']}' has no weight format '{row.get('weight_format')}' "
                f"(allowed: {', '.join(METHODS[row['method']].formats)})"
            )
        elif row.get("weight_format") not in WEIGHT_FORMATS:
            mistakes.append(
                unknown_name("weight format", str(row.get("weight_format")), WEIGHT_FORMATS)
            )
    for row in rows[1:]:
        wanted = {f.name for f in dataclasses.fields(Override)}
        mistakes += [unknown_name("override key", key, wanted) for key in row.keys() - wanted]
        missing = wanted - row.keys()
        mistakes += [f"override lacks '{key}': {row}" for key in sorted(missing)]
    activation = str(table.get("activation", DEFAULT_ACTIVATION))
    if activation not in ACTIVATION_FORMATS:
        mistakes.append(unknown_name("activation format", activation, ACTIVATION_FORMATS))
    if table.get("output_order", OUTPUT_ORDERS[0]) not in OUTPUT_ORDERS:
        mistakes.append(unknown_name("output order", str(table["output_order"]), OUTPUT_ORDERS))
    alpha = table.get("migration", 0.0)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        mistakes.append(f"migration = {alpha!r}: a number from 0 to 1 is needed")
    if mistakes:
        raise ConfigError(f"{where}: {len(mistakes)} mistake(s):\n  " + "\n  ".join(mistakes))
    return Recipe(**{**table, "overrides": tuple(Override(**row) for row in overrides)})
