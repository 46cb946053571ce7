"""Design space exploration: one model on many machines, timing only, in parallel processes.

A point is a recipe and values of architecture keys. The model is quantized once per recipe, here;
processes of their own schedule and emit it for each machine, and the simulator counts cycles
without computing values. Outliers are where the model's weights have them. Nothing that goes wrong
with one point ends a sweep: it is in that point's row.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tvm

from ...target.arch import Arch, from_table, integer_keys, load_arch
from ...target.errors import ConfigError, MicroscopiqError, unknown_name
from ...target.formats import WEIGHT_FORMATS
from ...target.technology import Technology, load_technology
from ..driver import quantize
from ..frontend.load import load_model
from ..quant.recipe import load_recipe
from .dse_pool import Job, one_line, run_jobs

SHORT = {"array": ("array_rows", "array_cols")}
"""Names for keys that change together."""
MOST_POINTS = 10_000
OBJECTIVES = ("seconds", "energy_pj", "area_mm2")
"""What a point is judged by; less is better."""
Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Point:
    """One machine and recipe: the base architecture with some keys changed."""

    recipe: str
    keys: Mapping[str, int]

    @property
    def name(self) -> str:
        """What differs between points, for messages and labels."""
        return " ".join([self.recipe, *(f"{key}={value}" for key, value in self.keys.items())])


@dataclass(frozen=True)
class Row:
    """What a point costs.

    Attributes
    ----------
    cycles, seconds, energy_pj, area_mm2, utilisation : number or None
        Of one call of the model, of the machine; host operators cost nothing. None if it failed.
    error : str
        Why the point failed; empty if it didn't.
    pareto : bool
        No other point is as good in all `OBJECTIVES` and better in one.
    """

    point: Point
    cycles: int | None = None
    seconds: float | None = None
    energy_pj: float | None = None
    area_mm2: float | None = None
    utilisation: float | None = None
    error: str = ""
    pareto: bool = False

    def to_record(self) -> dict:
        """Return the row for tables and JSON: a key per column."""
        rest = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "point"
        }
        return {"recipe": self.point.recipe, **self.point.keys, **rest}


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


def explore(
    source,
    chosen: Sequence[Point],
    arch: str | Path | Arch,
    technology: str | Path | Technology | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> list[Row]:
    """Return a row per point, in the points' order.

    Parameters
    ----------
    source : anything that `load_model` takes
    arch : str, Path or Arch
        What points change keys of.
    technology : str, Path or Technology, optional
        For areas and energies; the architecture's own unless given.
    jobs : int
        Processes at a time, 1 or more. They start as new interpreters, so that a script that calls
        this needs ``if __name__ == "__main__":``.

    Raises
    ------
    MicroscopiqError
        As `load_model` and `load_arch`. What a recipe or a machine can't do is in the rows.
    """
    if jobs < 1:
        raise ConfigError(f"jobs = {jobs}; allowed: 1 or more")
    base, table = load_arch(arch), load_technology(technology) if technology else None
    mod = load_model(source)
    failed: dict[int, str] = {}
    with TemporaryDirectory(prefix="microscopiq-dse-") as folder:
        paths = _quantized(mod, chosen, Path(folder), progress)
        work: list[Job] = []
        for number, point in enumerate(chosen):
            path = paths[point.recipe]
            try:
                if isinstance(path, MicroscopiqError):
                    raise path
                work.append(Job(number, point.name, str(path), machine(base, point), table))
            except MicroscopiqError as error:
                failed[number] = one_line(error)
        found = run_jobs(work, jobs, progress)
    rows = [
        Row(point, error=failed[number]) if number in failed else Row(point, **found[number])
        for number, point in enumerate(chosen)
    ]
    best = pareto([_objectives(row) for row in rows])
    return [
        dataclasses.replace(row, pareto=is_best) for row, is_best in zip(rows, best, strict=True)
    ]


def machine(base: Arch, point: Point) -> Arch:
    """Return the architecture of a point; without ReCoN it decodes no formats with outliers.

    Raises
    ------
    ConfigError
        For values that an architecture can't have, alone or together.
    """
    table = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    table |= point.keys
    formats = [WEIGHT_FORMATS[name] for name in base.weight_formats]
    table["weight_formats"] = [
        row.name for row in formats if table["recon_units"] or not row.has_outliers
    ]
    return from_table(table, base.name)


def pareto(objectives: Sequence[tuple[float, ...] | None]) -> list[bool]:
    """Tell which points no other one beats; None is beaten."""
    return [
        mine is not None
        and not any(
            other is not None
            and other != mine
            and all(a <= b for a, b in zip(other, mine, strict=True))
            for other in objectives
        )
        for mine in objectives
    ]


def _objectives(row: Row) -> tuple[float, ...] | None:
    return None if row.error else tuple(getattr(row, name) for name in OBJECTIVES)


def _quantized(
    mod, chosen: Sequence[Point], folder: Path, progress: Progress | None
) -> dict[str, Path | MicroscopiqError]:
    """Return by recipe the file of the quantized module, or what its quantization raised."""
    found: dict[str, Path | MicroscopiqError] = {}
    for recipe in dict.fromkeys(point.recipe for point in chosen):
        try:
            quantized = quantize(mod, recipe, progress=progress)
        except MicroscopiqError as error:
            found[recipe] = error
            continue
        path = folder / f"{len(found)}.json"
        path.write_text(tvm.ir.save_json(quantized))
        found[recipe] = path
    return found
