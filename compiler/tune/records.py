"""What a database has of an operator, and what of that holds for a run that goes on in its folder.

A folder may have records of several runs: other recipes, or other models with an equal operator. A
run counts the candidates of its own; those of others with the same weights, or of an operator
without any, cost the same cycles: they are reused and not counted. What was measured with other
weights is measured again.
"""

import hashlib
from dataclasses import dataclass

from ...target.arch import Arch
from ..operators import to_attribute
from ..tiling.tile import GemmTile
from ..tuned.database import workload
from ..tuned.space import Source, source_of, tile_of, unchecked
from .model import TileModel
from .task import Task

FAILED_SECONDS = 1e9
"""MetaSchedule's records of what could not be measured take longer."""


@dataclass(frozen=True)
class Record:
    """One measured candidate, with the seconds of a failed one beyond `FAILED_SECONDS`."""

    tile: GemmTile
    seconds: float
    source: Source


def run_key(tasks: list[Task]) -> str:
    """Return what names a run: a hash of its operators and their weights."""
    parts = sorted(f"{to_attribute(task.op)} {task.weights}" for task in tasks)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def records_of(database, module, arch: Arch) -> list[Record]:
    """Return the records that a database has of a module.

    Raises
    ------
    ConfigError
        When they were tuned for another architecture or by another version.
    """
    if not database.has_workload(module):
        return []
    known = database.commit_workload(module)
    found, plain = [], unchecked(module)
    for record in database.get_all_tuning_records():
        if not record.workload.same_as(known):
            continue
        schedule = plain.copy()
        record.trace.apply_to_schedule(schedule, remove_postproc=True)
        tile = tile_of(schedule.mod, arch)
        if tile is not None:
            seconds = float(record.run_secs[0])
            found.append(Record(tile, seconds, source_of(schedule.mod)))
    return found


def resume(task: Task, database, arch: Arch, run: str, model: TileModel | None) -> None:
    """Count what a database has of a task, take the best of it, and learn from it."""
    records = [
        record
        for record in records_of(database, workload(task.op), arch)
        if record.source.weights == task.weights
    ]
    task.trials = sum(record.source.run == run for record in records)
    task.reused = len(records) - task.trials
    measured = [
        (record.tile, record.seconds * arch.clock_mhz * 1e6)
        for record in records
        if record.seconds < FAILED_SECONDS
    ]
    for tile, cycles in measured:
        if round(cycles) < task.best:
            task.best, task.tile = round(cycles), tile
    if model is not None and measured:
        model.learn(task.op, arch, measured)
