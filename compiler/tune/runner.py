"""Runs candidates on the simulator's timing core, in worker processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from ...target.arch import Arch
from ..workers import end, interpreters
from .artifact import Candidate
from .measure import measure

_WORKER_SEGMENTS: dict[str, bytes] = {}
"""Of a worker process alone: the weights that its pool measures with, by key."""


def _start(segments: Mapping[str, bytes]) -> None:
    # Ctrl-C is the parent's business, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _WORKER_SEGMENTS.update(segments)


def _cycles_in_worker(text: str) -> int:
    return _cycles(text, _WORKER_SEGMENTS)


def _cycles(text: str, segments: Mapping[str, bytes]) -> int:
    candidate = Candidate.from_text(text)
    segment = candidate.segment(segments)
    return measure(candidate.op, candidate.tile, candidate.arch, segment)


class Workers:
    """Worker processes that measure; each keeps the weights that it was started with.

    Parameters
    ----------
    count : int, optional
        Processes; as many as this one may use cores unless given, and 0 to measure in this one.
    segments : dict, optional
        Packed weights by the key that candidates name them with.
    """

    def __init__(self, count: int | None = None, segments: Mapping[str, bytes] | None = None):
        self.count = len(os.sched_getaffinity(0)) if count is None else count
        self.segments = segments or {}
        self.pool: Executor | None = None

    def submit(self, text: str) -> Future:
        """Return the cycles to come of a candidate."""
        if not self.count:
            return _done(text, self.segments)
        if self.pool is None:
            self.pool = self._open()
        try:
            return self.pool.submit(_cycles_in_worker, text)
        except RuntimeError:
            # A worker died of its candidate: those after it get workers of their own.
            self.pool = self._open()
            return self.pool.submit(_cycles_in_worker, text)

    def _open(self) -> Executor:
        # A fork is ready at once, but only safe while no other thread holds a lock. Else a new
        # interpreter starts, and not with the user's script, as multiprocessing's would.
        if threading.active_count() == 1:
            context = multiprocessing.get_context("fork")
            return ProcessPoolExecutor(self.count, context, _start, (self.segments,))
        return interpreters(self.count, _start, (self.segments,))

    def close(self) -> None:
        """End the workers without waiting for what they have begun."""
        if isinstance(self.pool, ProcessPoolExecutor):
            self.pool.shutdown(wait=False, cancel_futures=True)
        elif self.pool is not None:
            end(self.pool)
        self.pool = None


def _done(text: str, segments: Mapping[str, bytes]) -> Future:
    future: Future = Future()
    try:
        future.set_result(_cycles(text, segments))
    except Exception as error:
        future.set_exception(error)
    return future


@derived_object
class _Measured(ms.runner.PyRunnerFuture):
    def __init__(self, future: Future, clock_hz: float):
        super().__init__()
        self.future, self.clock_hz = future, clock_hz

    def done(self):
        return self.future.done()

    def result(self):
        try:
            return ms.runner.RunnerResult([self.future.result() / self.clock_hz], None)
        except Exception as error:
            # A candidate that can't be measured ends, not the run.
            return ms.runner.RunnerResult(None, f"{type(error).__name__}: {error}")


def measured(future: Future, arch: Arch):
    """Return what MetaSchedule waits for: the seconds of cycles that are still to come."""
    return _Measured(future, arch.clock_mhz * 1e6)


@derived_object
class Runner(ms.runner.PyRunner):
    """Seconds are the timing core's cycles over the clock; `tune_relax(..., runner=Runner())`."""

    def __init__(self, workers: Workers | None = None):
        self.workers = workers or Workers()

    def run(self, runner_inputs):
        """Return a future for each candidate."""
        futures = []
        for item in runner_inputs:
            text = str(item.artifact_path)
            futures.append(measured(self.workers.submit(text), Candidate.from_text(text).arch))
        return futures
