"""Recipes: which algorithm and weight format each layer gets, as data."""

import dataclasses
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...target.errors import ConfigError, unknown_name
from ...target.formats import ACTIVATION_FORMATS, DEFAULT_ACTIVATION, WEIGHT_FORMATS
from ...target.tables import read_table, table_names
from . import methods as _registered  # noqa: F401  (importing registers the algorithms)
from .base import METHODS, method_options
from .host_formats import KV_FORMATS, STUDY_ACTIVATIONS, STUDY_FORMATS
from .roles import ROLES, role_mistakes
from .solve import Compensation

RECIPE_DIR = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "microscopiq-w4a8"
STATIC = "int8-static"
"""Activation format of models in integers alone: one scale for a tensor, known while compiling."""
FP32 = "fp32"
"""Activation format of recipes for weights alone: their layers stay on the host."""
HOST_ACTIVATIONS = (FP32, *STUDY_ACTIVATIONS)
"""Activation formats that the array doesn't multiply."""
ACTIVATIONS = (*ACTIVATION_FORMATS, STATIC, *HOST_ACTIVATIONS)
CACHES = (FP32, *KV_FORMATS)
OUTPUT_ORDERS = ("source", "norm")
"""Orders of a linear layer's output channels: the model's, or macro-blocks by norm."""

ROTATIONS = (0, 16, 32, 64, 128, 256)
"""Inputs that a rotation mixes."""
TEXTS = ("name", "description", "method", "weight_format", "pattern")
"""Keys of a recipe or an override that are texts."""
AWQ, SMOOTHQUANT = "awq", "smoothquant"
"""Names of rules for factors between activations and weights."""
DEFAULT_STRENGTH = 0.7
"""SmoothQuant's strength if none is given: MicroScopiQ's (A2)."""


class LayerRecipe(NamedTuple):
    """What a recipe does to one layer; `options` differ from the method's defaults."""

    method: str
    weight_format: str
    options: dict


@dataclass(frozen=True)
class Override:
    """A method, format and options for the layers whose name matches a pattern.

    With `FP32` as format they stay on the host as they are, and have no method.
    """

    pattern: str
    method: str = ""
    weight_format: str = ""
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What quantization does to a model; `overrides` are tried in order, first match wins.

    `options` are those of the method (docs/recipes.md). `output_order` is one of `OUTPUT_ORDERS`;
    it concerns layers whose format has outliers. `migration` is how much of the activations' range
    goes into the weights, 0 to 1, or the name of a rule (`passes.factors`): it needs samples.
    `bias_correction` makes good what a layer lacks on average, where it has a bias and samples
    are given (`quant.statistics`). `kv_cache` is how keys and values of attention are held, one of
    `CACHES` (`passes.kv_cache`). `activations` are formats of inputs that have a role
    (`roles.ROLES`), by its name, where they aren't `activation`. `rotation` is how many inputs
    of linear layers a Hadamard matrix mixes (`passes.rotation`), 0 for none.
    """

    name: str
    description: str
    method: str
    weight_format: str
    activation: str
    overrides: tuple[Override, ...] = ()
    output_order: str = "source"
    options: dict = field(default_factory=dict)
    migration: float | str | None = None
    bias_correction: bool = False
    kv_cache: str = FP32
    activations: dict = field(default_factory=dict)
    rotation: int = 0

    def activation_of(self, roles: Iterable[str]) -> str:
        """Return the activation format of a layer whose input has some of `roles.ROLES`."""
        return next(
            (
                self.activations[name]
                for name in ROLES
                if name in roles and name in self.activations
            ),
            self.activation,
        )

    def for_layer(self, name: str) -> LayerRecipe:
        """Return what happens to a layer, by its name."""
        for row in self.overrides:
            if fnmatch.fnmatchcase(name, row.pattern):
                return LayerRecipe(row.method, row.weight_format, row.options)
        return LayerRecipe(self.method, self.weight_format, self.options)

    def in_fp32(self, name: str) -> bool:
        """Tell whether a layer stays on the host as it is."""
        return self.for_layer(name).weight_format == FP32

    @property
    def on_host(self) -> bool:
        """Whether no layer runs on the array, because of its activations."""
        return self.activation in HOST_ACTIVATIONS

    @property
    def integers_only(self) -> bool:
        """Whether nothing between a model's inputs and outputs is fp32."""
        return self.activation == STATIC

    def needs_statistics(self) -> bool:
        """Tell whether its migration or a method that it names needs calibration data."""
        needed = any(METHODS[name].needs_statistics for name in self._methods())
        needed = needed or self.integers_only
        return needed or self.migration is not None

    def compensates(self) -> bool:
        """Tell whether a method that it names makes good what layers before a layer changed."""
        return any(issubclass(METHODS[name].options, Compensation) for name in self._methods())

    def _methods(self) -> list[str]:
        return [self.method, *(row.method for row in self.overrides if row.method)]


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
    needed = [f.name for f in fields if _required(f)]
    mistakes += [f"missing key '{key}'" for key in needed if key not in table]
    overrides = table.get("overrides", [])
    if not isinstance(overrides, list) or not all(isinstance(row, dict) for row in overrides):
        mistakes.append(f"overrides = {overrides!r}: [[overrides]] tables are needed")
        overrides = []
    for number, row in enumerate((table, *overrides)):
        texts = [key for key in TEXTS if not isinstance(row.get(key, ""), str)]
        mistakes += [f"{key} = {row[key]!r}: a text is needed" for key in texts]
        if not texts:
            mistakes += _layer_mistakes(row, override=number > 0)
    for row in overrides:
        wanted = {f.name for f in dataclasses.fields(Override)}
        mistakes += [unknown_name("override key", key, wanted) for key in row.keys() - wanted]
        missing = {f.name for f in dataclasses.fields(Override) if _required(f)} - row.keys()
        mistakes += [f"override lacks '{key}': {row}" for key in sorted(missing)]
    activation = str(table.get("activation", DEFAULT_ACTIVATION))
    if activation not in ACTIVATIONS:
        mistakes.append(unknown_name("activation format", activation, ACTIVATIONS))
    mistakes += role_mistakes(activation, table.get("activations", {}), (table, *overrides))
    if table.get("output_order", OUTPUT_ORDERS[0]) not in OUTPUT_ORDERS:
        mistakes.append(unknown_name("output order", str(table["output_order"]), OUTPUT_ORDERS))
    if table.get("kv_cache", FP32) not in CACHES:
        mistakes.append(unknown_name("format of a cache", str(table["kv_cache"]), CACHES))
    if not isinstance(table.get("bias_correction", False), bool):
        mistakes.append(f"bias_correction = {table['bias_correction']!r}: true or false is needed")
    mistakes += _migration_mistakes(table.get("migration", 0.0))
    rotation = table.get("rotation", 0)
    if rotation not in ROTATIONS or isinstance(rotation, bool):
        mistakes.append(f"rotation = {rotation!r}: allowed {', '.join(map(str, ROTATIONS))}")
    elif rotation and "migration" in table:
        mistakes.append(f"rotation = {rotation} beside a migration: allowed one of them")
    if mistakes:
        raise ConfigError(f"{where}: {len(mistakes)} mistake(s):\n  " + "\n  ".join(mistakes))
    return Recipe(**{**table, "overrides": tuple(Override(**row) for row in overrides)})


def _migration_mistakes(value) -> list[str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value in (AWQ, SMOOTHQUANT) or (number and 0 <= value <= 1):
        return []
    return [f"migration = {value!r}: a number from 0 to 1, '{SMOOTHQUANT}' or '{AWQ}' is needed"]


def _required(field_: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field_.default is missing and field_.default_factory is missing


def _layer_mistakes(row: dict, override: bool) -> list[str]:
    """Return what is wrong with the method, format and options of a recipe or an override."""
    name, weight_format = row.get("method"), row.get("weight_format")
    mistakes = []
    if override and weight_format == FP32:
        given = " and ".join(sorted({"method", "options"} & row.keys()))
        return [f"weight_format = '{FP32}' leaves layers as they are: drop {given}"] * bool(given)
    if override:
        lacking = [key for key in ("method", "weight_format") if key not in row]
        mistakes += [f"override lacks '{key}': {row}" for key in lacking]
    if name in METHODS and weight_format not in METHODS[name].formats:
        allowed = ", ".join(METHODS[name].formats)
        mistakes.append(
            f"method '{name}' has no weight format '{weight_format}' (allowed: {allowed})"
        )
    elif "method" in row and name not in METHODS:
        mistakes.append(unknown_name("method", str(name), METHODS))
    elif weight_format not in (*WEIGHT_FORMATS, *STUDY_FORMATS):
        known = (*WEIGHT_FORMATS, *STUDY_FORMATS)
        mistakes.append(unknown_name("weight format", str(weight_format), known))
    options = row.get("options", {})
    if not isinstance(options, dict):
        mistakes.append(f"options = {options!r}: an [options] table is needed")
    elif name in METHODS:
        try:
            method_options(name, options)
        except ConfigError as error:
            mistakes.append(str(error))
    return mistakes
