"""What a run tells while it goes on: trials, the best so far against the bound, the time left."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from ...target.arch import Arch
from ..tuned.space import tile_of
from .task import Task


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes on: see `tune`."""

    done: int
    total: int
    task: Task
    seconds_left: float
    tasks: list[Task]

    @property
    def share(self) -> float:
        """Bound over the cycles so far, of all tasks together."""
        best = sum(task.best * task.count for task in self.tasks)
        return sum(task.bound.cycles * task.count for task in self.tasks) / best


Report = Callable[[Progress], None]


@derived_object
class Watch(ms.measure_callback.PyMeasureCallback):
    """Counts trials, keeps the best, and reports."""

    def __init__(self, tasks: list[Task], arch: Arch, total: int, report: Report | None):
        self.tasks, self.arch, self.total, self.report = tasks, arch, total, report
        self.begin, self.measured = time.monotonic(), 0
        self.before = sum(task.trials for task in tasks)

    def apply(self, _task_scheduler, task_id, measure_candidates, _builder_results, runner_results):
        """Take note of a batch."""
        task = self.tasks[int(task_id)]
        for candidate, result in zip(measure_candidates, runner_results, strict=True):
            self.measured += 1
            task.trials += 1
            if result.run_secs:
                cycles = round(float(result.run_secs[0]) * self.arch.clock_mhz * 1e6)
                if cycles < task.best:
                    task.best, task.tile = cycles, tile_of(candidate.sch.mod, self.arch)
            else:
                task.failed += 1
        if self.report is not None:
            done = self.before + self.measured
            pace = (time.monotonic() - self.begin) / max(1, self.measured)
            left = max(0.0, (self.total - done) * pace)
            self.report(Progress(done, self.total, task, left, self.tasks))
