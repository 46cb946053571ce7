"""The points of a design space exploration: recipes, and values of an architecture's keys."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...target.arch import integer_keys
from ...target.errors import ConfigError, unknown_name
from ..quant.recipe import load_recipe

SHORT = {"array": ("array_rows", "array_cols")}
"""Names for keys that change together."""
MOST_POINTS = 10_000


@dataclass(frozen=True)
class Point:
    """One machine and recipe: the base architecture with some keys changed."""

    recipe: str
    keys: Mapping[str, int]

    @property
    def name(self) -> str:
        """What differs between points, for messages and labels."""
        return " ".join([self.recipe, *(f"{key}={value}" for key, value in self.keys.items())])


def points(recipes: Sequence[str], sweep: Mapping[str, Sequence[int]]) -> list[Point]:
    """Return every combination of recipes and values.

    Parameters
    ----------
    sweep : mapping
        Values by key of an architecture, or by a name of `SHORT`.

    Raises
    ------
    ConfigError
        For an unknown key or recipe (nearest names first), a key without values or named twice,
        and for too many points.
    """
    known = [*(field.name for field in integer_keys()), *SHORT]
    for name, values in sweep.items():
        if name not in known:
            raise ConfigError(unknown_name("key", name, known))
        if not values:
            raise ConfigError(f"key '{name}' has no values to sweep")
    names = [key for name in sweep for key in SHORT.get(name, (name,))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"swept twice: {', '.join(twice)} ('array' is array_rows and array_cols)")
    for recipe in recipes:
        load_recipe(recipe)
    axes = [
        [{key: value for key in SHORT.get(name, (name,))} for value in dict.fromkeys(values)]
        for name, values in sweep.items()
    ]
    machines = [
        {key: value for part in parts for key, value in part.items()}
        for parts in itertools.product(*axes)
    ]
    if len(machines) * len(recipes) > MOST_POINTS:
        raise ConfigError(
            f"{len(machines) * len(recipes):,} points; allowed: up to {MOST_POINTS:,}"
        )
    return [Point(str(recipe), keys) for recipe in recipes for keys in machines]


def short_name(point: Point, among: Sequence[Point]) -> str:
    """Return a point's name without the keys that are the same in all."""
    row, rows = short_keys(point), [short_keys(other) for other in among]
    shown = [f"{key}={value}" for key, value in row.items() if len({r[key] for r in rows}) > 1]
    return " ".join([point.recipe, *shown])


def short_keys(point: Point) -> dict[str, str]:
    """Return a point's keys and values, rows and columns as one: ``64x64``."""
    rest = {key: str(value) for key, value in point.keys.items()}
    found = {}
    for short, keys in SHORT.items():
        if all(key in rest for key in keys):
            found[short] = "x".join(rest.pop(key) for key in keys)
    return found | rest


def check_jobs(jobs: int) -> None:
    """Raise ConfigError for no process at all."""
    if jobs < 1:
        raise ConfigError(f"jobs = {jobs}; allowed: 1 or more")
