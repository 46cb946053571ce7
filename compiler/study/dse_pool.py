"""Runs the points of a design space exploration, a few at a time, each in its own process."""

import functools
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import tvm

from ...runtime.results.result import total
from ...target.arch import Arch
from ...target.area import area
from ...target.errors import MicroscopiqError
from ...target.technology import Technology, load_technology
from ..estimate.timing import time_functions
from ..partition.graph import function_names, program_calls
from ..passes.lower import emit_programs, leave_to_host, schedule_operators
from ..passes.outlier_ways import with_outlier_ways
from ..passes.side_by_side import side_by_side
from ..workers import end, interpreters, interrupts_ignored

STAGE = "explore"
Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Job:
    """One machine for a quantized model in a file; `number` is the caller's."""

    number: int
    name: str
    path: str
    arch: Arch
    technology: Technology | None


def run_jobs(jobs: list[Job], processes: int, progress: Progress | None) -> dict[int, dict]:
    """Return by number what `measure` found, or ``{"error": text}``.

    A process that dies (out of memory, killed) costs the points that were being measured then.
    Ctrl-C ends the processes and is raised.
    """
    found: dict[int, dict] = {}
    waiting = list(reversed(jobs))
    while waiting:
        with _Pool(min(processes, len(waiting))) as pool:
            running: dict[Future, Job] = {}
            while waiting or running:
                while waiting and len(running) < pool.size:
                    job = waiting.pop()
                    running[pool.submit(job)] = job
                if progress:
                    progress(STAGE, len(found), len(jobs), next(iter(running.values())).name)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                broken = False
                for future in done:
                    job = running.pop(future)
                    found[job.number], died = _outcome(future)
                    broken |= died
                if broken:
                    lost = {"error": "its process ended while it was measured"}
                    found |= {job.number: lost for job in running.values()}
                    break
    return found


def one_line(error: Exception) -> str:
    """Return a message for a cell of a table."""
    return " ".join(line.strip() for line in str(error).splitlines())


def _outcome(future: Future) -> tuple[dict, bool]:
    """Return what a process found, and whether it died over it."""
    try:
        return future.result(), False
    except BrokenProcessPool:
        return {"error": "its process ended while it was measured"}, True
    except MicroscopiqError as error:
        return {"error": one_line(error)}, False
    except Exception as error:  # a bug of ours at one point must not take the others
        lines = str(error).splitlines() or [""]
        return {"error": f"{type(error).__name__}: {lines[0]}"}, False


class _Pool:
    """Processes that leave Ctrl-C to this one and end with it."""

    def __init__(self, size: int):
        self.size = size
        self.executor = interpreters(size)

    def submit(self, job: Job) -> Future:
        """Start a job, and a process if there are too few."""
        with interrupts_ignored():
            return self.executor.submit(measure, job.path, job.arch, job.technology)

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_exception) -> None:
        # All is measured then, or nothing of it is wanted any more.
        end(self.executor)


@functools.cache
def _module(path: str) -> tvm.IRModule:
    return tvm.ir.load_json(Path(path).read_text(encoding="utf-8"))


def measure(path: str, arch: Arch, technology: Technology | None) -> dict:
    """Return cycles, seconds, energy, area and utilisation of a quantized model on a machine.

    Raises
    ------
    MicroscopiqError
        When the machine can't hold a tile of a layer or can't decode its weights.
    """
    table = technology or load_technology(arch.technology)
    mod = side_by_side(leave_to_host(_module(path), arch), arch)
    mod = with_outlier_ways(mod, arch, {})
    mod, program, _ = emit_programs(mod, arch, schedule_operators(mod, arch))
    calls = [name for gv in function_names(mod) for name in program_calls(mod[gv])]
    records = time_functions(program)
    result = total([each for name in calls for each in records.get(name, [])], program, table)
    return {
        "cycles": result.cycles,
        "seconds": result.seconds,
        "energy_pj": float(sum(result.energy_pj.values())),
        "area_mm2": sum(part.um2 for part in area(arch, table)) / 1e6,
        "utilisation": result.utilisation,
    }
