"""Design space exploration: one model on many machines, timing only, in parallel processes.

A point is a recipe and values of architecture keys. The model is quantized once per recipe, here;
processes of their own schedule and emit it for each machine, and the simulator counts cycles
without computing values. Outliers are where the model's weights have them. Nothing that goes wrong
with one point ends a sweep: it is in that point's row.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tvm

from ...runtime.whole_file import write_file
from ...target.arch import Arch, from_table, load_arch
from ...target.errors import MicroscopiqError
from ...target.formats import WEIGHT_FORMATS
from ...target.technology import Technology, load_technology
from ..driver import quantize
from ..frontend.load import load_model
from .dse_pool import Job, one_line, run_jobs
from .points import Point, check_jobs

OBJECTIVES = ("seconds", "energy_pj", "area_mm2")
"""What a point is judged by; less is better."""
Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Row:
    """What a point costs.

    Attributes
    ----------
    cycles, seconds, energy_pj, area_mm2, utilisation : number or None
        Of one call of the model, of the machine alone. None if it failed.
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
        Processes at a time, 1 or more.

    Raises
    ------
    MicroscopiqError
        As `load_model` and `load_arch`. What a recipe or a machine can't do is in the rows.
    """
    check_jobs(jobs)
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
        write_file(path, tvm.ir.save_json(quantized))
        found[recipe] = path
    return found
