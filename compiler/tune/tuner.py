"""Tunes the products and convolutions of a model: `microscopiq.tune` and `microscopiq tune`."""

import contextlib
import dataclasses
import logging
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tvm import target as tvm_target
from tvm.s_tir import meta_schedule as ms

from ...target.arch import DEFAULT_ARCH, Arch, load_arch
from ...target.errors import ConfigError
from ..driver import Compilation, run_stages
from ..frontend.load import load_model
from ..options import Options
from ..quant.recipe import Recipe
from ..tuned.database import open_database, workload
from ..tuned.space import Source, space
from .artifact import Builder
from .model import TileModel
from .records import resume, run_key
from .runner import Runner, Workers
from .search import Search
from .task import Task, tasks_of
from .watch import Report, Watch

TASKS = "tvm.s_tir.meta_schedule"
MODEL = "cost_model.json"
BATCH = 64


@dataclass
class Tuning:
    """What `tune_model` found.

    Attributes
    ----------
    database : tvm.s_tir.meta_schedule.Database
    tasks : list of Task
    search : SearchRun
    compilation : Compilation
        With default schedules.
    """

    database: object
    tasks: list[Task]
    arch: Arch
    search: "SearchRun"
    compilation: Compilation = field(repr=False)


def tune(
    mod,
    trials: int,
    work_dir: str | Path,
    arch: str | Path | Arch = DEFAULT_ARCH,
    recipe: str | Path | Recipe | None = None,
):
    """Tune a model's products and convolutions; return the database for `with database:`.

    Parameters
    ----------
    mod : anything that `load_model` takes
    trials : int
        Candidates to measure, with those that the folder has already of a run with the same
        operators and weights; those of other runs that hold for it are reused and not counted.
    work_dir : str or Path
        Folder of the database; a run that was ended goes on from what is there.

    Raises
    ------
    ConfigError
        When the folder has a database of another architecture or version, or xgboost is missing.
    """
    return tune_model(mod, trials, work_dir, arch, recipe).database


def tune_model(
    mod, trials: int, work_dir, arch, recipe=None, settings: "Settings | None" = None
) -> Tuning:
    """Tune as `tune` does, and return more of it."""
    settings = settings or Settings()
    if trials < 1:
        raise ConfigError(f"{trials} trials; allowed: from 1 on")
    machine = load_arch(arch)
    database = open_database(work_dir, machine, create=True)
    options = Options(recipe=recipe, arch=machine, stop_after="emit", graph=False)
    state = run_stages(load_model(mod), options)
    tasks = tasks_of(state)
    if not tasks:
        raise ConfigError("nothing to tune: no product or convolution of the model is accelerated")
    settings = dataclasses.replace(settings, save=Path(work_dir) / MODEL)
    search = tune_tasks(tasks, machine, database, trials, settings)
    return Tuning(database, tasks, machine, search, state)


@dataclass
class Settings:
    """Choices of a run that hardly anybody needs.

    Attributes
    ----------
    workers : int, optional
        Processes that measure; 0 measures in this one.
    tracker : str, optional
        ``host:port`` of TVM's RPC tracker, whose servers measure (`tune.remote`).
    cost_model, save : Path, optional
        Trees of an earlier run to start with, and where to keep those of this one.
    model : bool
        Without one the candidates are drawn by chance.
    """

    workers: int | None = None
    tracker: str | None = None
    cost_model: Path | None = None
    save: Path | None = None
    model: bool = True
    seed: int = 1
    report: Report | None = None


@dataclass(frozen=True)
class SearchRun:
    """How a run went: candidates measured, seconds, and whether Ctrl-C ended it."""

    trials: int
    seconds: float
    interrupted: bool


def tune_tasks(
    tasks: list[Task], arch: Arch, database, trials: int, settings: Settings | None = None
) -> SearchRun:
    """Measure candidates of operators until the trials are used up; fill in the tasks' best.

    Parameters
    ----------
    trials : int
        Candidates in all, with those of the database that are of the same run.
    """
    settings = settings or Settings()
    segments = {task.weights: task.segment for task in tasks if task.segment}
    workers, run = Workers(settings.workers, segments), run_key(tasks)
    model = TileModel(arch, settings.seed) if settings.model else None
    for task in tasks:
        resume(task, database, arch, run, model)
    if settings.cost_model is not None and model is not None:
        model.load(str(settings.cost_model))
    left = trials - sum(task.trials for task in tasks)
    watch, begin, stopped = Watch(tasks, arch, trials, settings.report), time.monotonic(), []
    try:
        if left > 0:
            weights = {task.op: task.weights for task in tasks}
            search = Search(model, arch, settings.seed, left, weights)
            contexts = [_context(task, arch, run, search) for task in tasks]
            with _stops(search) as stopped:
                runner = _runner(settings, workers, segments)
                _measure(contexts, tasks, left, database, (runner, arch, model, watch))
    finally:
        workers.close()
    if model is not None and settings.save is not None:
        model.save(str(settings.save))
    return SearchRun(watch.measured, time.monotonic() - begin, bool(stopped))


def _runner(settings: Settings, workers: Workers, segments: dict):
    if settings.tracker is None:
        return Runner(workers)
    from .remote import RemoteRunner

    return RemoteRunner(settings.tracker, segments)


def _context(task: Task, arch: Arch, run: str, search: Search):
    kind = tvm_target.Target({"tag": "microscopiq", "model": arch.name})
    with own_intrinsics_only():
        return ms.TuneContext(
            mod=workload(task.op),
            target=kind,
            space_generator=space(arch, Source(run, task.weights)),
            search_strategy=search.clone(),
            task_name=task.layer,
            num_threads=1,
            rand_state=1,
        )


@contextlib.contextmanager
def own_intrinsics_only() -> Iterator[None]:
    """Spare us TVM's tensor intrinsics for GPUs and CPUs, whose import takes half a minute."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def _stops(search: Search) -> Iterator[list]:
    """Let Ctrl-C end the search after the batch that is under way, and say so in the list.

    An exception would have to cross MetaSchedule's C++, and could leave half a record on disk.
    """
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number, _frame):
        stopped.append(number)
        search.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _measure(contexts, tasks: list[Task], left: int, database, parts: tuple) -> None:
    runner, arch, model, watch = parts
    logger = logging.getLogger(TASKS)
    level = logger.level
    logger.setLevel(logging.ERROR)
    scheduler = f"{TASKS}.task_scheduler"
    logging.getLogger(scheduler).setLevel(logging.ERROR)
    callbacks = [ms.measure_callback.AddToDatabase(), watch]
    if model is not None:
        callbacks.insert(1, ms.measure_callback.UpdateCostModel())
    try:
        ms.tune_tasks(
            tasks=contexts,
            task_weights=[float(task.count) for task in tasks],
            work_dir="",
            max_trials_global=left,
            # Every task gets a batch or more.
            num_trials_per_iter=max(1, min(BATCH, left // (2 * len(tasks)))),
            builder=Builder(arch, {task.op: task.weights for task in tasks}),
            runner=runner,
            database=database,
            cost_model=model if model is not None else "random",
            measure_callbacks=callbacks,
        )
    finally:
        logger.setLevel(level)
