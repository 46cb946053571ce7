"""What is tuned: each distinct operator of a model, for all layers that have it."""

from dataclasses import dataclass

from ...target.arch import Arch
from ..driver import Compilation
from ..kinds.registry import from_attribute, kind_of
from ..operators import ATTRIBUTE, Gemm
from ..passes.lower import quantized_functions
from ..tiling.legal import default_gemm_tile
from ..tiling.tile import GemmTile
from .bound import Bound, bound_of
from .measure import call_record, weights_key


@dataclass
class Task:
    """An operator to tune, for all layers that have it.

    Attributes
    ----------
    segment : bytes
        Weights of the first of its layers: candidates are measured with them.
    default : int
        Cycles of the default schedule.
    best : int
        Least cycles so far.
    trials, reused : int
        Candidates of this run, and of others in the same folder that hold for it.
    """

    op: Gemm
    layer: str
    count: int
    segment: bytes
    default: int
    bound: Bound
    best: int
    trials: int = 0
    reused: int = 0
    failed: int = 0
    tile: GemmTile | None = None

    @property
    def weights(self) -> str:
        """Return the key of its weights, "" without any."""
        return weights_key(self.segment)


def tasks_of(state: Compilation) -> list[Task]:
    """Return a task for each distinct operator of a compiled model, by its work."""
    assert state.placed is not None and state.program is not None
    found: dict[Gemm, list] = {}
    for gv, function in quantized_functions(state.placed):
        op = from_attribute(str(function.attrs[ATTRIBUTE]))
        emitted = state.program.functions.get(gv.name_hint)
        if emitted is not None and kind_of(op).tiles(op, state.arch):
            found.setdefault(op, []).append(emitted)
    tasks = [
        make_task(op, state.arch, same[0].weights, same[0].layer, len(same))
        for op, same in found.items()
    ]
    return sorted(tasks, key=lambda task: -task.default * task.count)


def make_task(op: Gemm, arch: Arch, segment: bytes, layer: str, count: int = 1) -> Task:
    """Return the task of an operator with these weights."""
    tile = default_gemm_tile(op, arch)
    record = call_record(op, tile, arch, segment)
    bound = bound_of(op, arch, segment, record)
    return Task(op, layer, count, segment, record["cycles"], bound, record["cycles"], tile=tile)
