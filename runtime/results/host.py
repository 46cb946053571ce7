"""What a run cost on the host, and in handing over between host and machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..host_costs import Cost, Costs

COUNTED = ("operations and bytes", "bytes alone")
"""How a function's cost is known: by its code, or by what it is called with."""
SUMMED = ("calls", "operations", "macs", "bytes", "seconds")
"""Numbers of a row."""


class Called(NamedTuple):
    """A function of the host in one run.

    Attributes
    ----------
    bytes : int
        Of the tensors of all calls together.
    """

    name: str
    calls: int
    bytes: int


class Rates(NamedTuple):
    """Keys of an architecture: what the host does in a nanosecond, 0 for no limit."""

    operations_per_ns: int
    bytes_per_ns: int
    handover_ns: int

    @classmethod
    def of(cls, arch_numbers: Mapping[str, int]) -> "Rates":
        """Return those of an architecture's integer keys."""
        return cls(
            arch_numbers["host_operations_per_ns"],
            arch_numbers["host_bytes_per_ns"],
            arch_numbers["handover_ns"],
        )

    def seconds(self, operations: int, moved: int) -> float:
        """Return what a call takes: the longer of arithmetic and memory."""
        arithmetic = operations / self.operations_per_ns if self.operations_per_ns else 0.0
        memory = moved / self.bytes_per_ns if self.bytes_per_ns else 0.0
        return max(arithmetic, memory) * 1e-9


@dataclass(frozen=True)
class HostRun:
    """The host's part of a run.

    Attributes
    ----------
    calls : list of dict
        A row per function, the longest first; docs/results.md has its fields.
    handovers : int
        How often work went from host to machine or back; a run starts and ends on the host.
    handover_seconds : float
        Of all of them.
    """

    calls: list[dict] = field(default_factory=list)
    handovers: int = 0
    handover_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Of all functions, one after the other."""
        return sum(row["seconds"] for row in self.calls)


def host_run(called: Iterable[Called], handovers: int, costs: Costs, rates: Rates) -> HostRun:
    """Return what calls cost; those that aren't among the costs' functions by their bytes."""
    rows: list[dict] = []
    for name, calls, moved in called:
        cost = costs.functions.get(name, Cost(None, 0, moved // calls))
        operations = cost.operations or 0
        rows.append(
            {
                "name": name,
                "calls": calls,
                "operations": calls * operations,
                "macs": calls * cost.macs,
                "bytes": calls * cost.bytes if name in costs.functions else moved,
                "counted": COUNTED[cost.operations is None],
                "seconds": calls * rates.seconds(operations, cost.bytes),
            }
        )
    rows.sort(key=lambda row: (-row["seconds"], row["name"]))
    return HostRun(rows, handovers, handovers * rates.handover_ns * 1e-9)


def merged(runs: Iterable[list[dict]]) -> list[dict]:
    """Return the rows of several runs as those of one."""
    sums: dict[str, dict] = {}
    for row in (row for run in runs for row in run):
        so_far = sums.setdefault(row["name"], {**row, **dict.fromkeys(SUMMED, 0)})
        for key in SUMMED:
            so_far[key] += row[key]
    return sorted(sums.values(), key=lambda row: (-row["seconds"], row["name"]))


def calls_in_order(
    names: Iterable[str], machine: Iterable[str], costs: Costs
) -> tuple[list[Called], int]:
    """Return what runs on the host of calls in order, and the number of hand-overs.

    What `microscopiq.runtime.call_counter` finds in a run, for calls that don't run.
    """
    on_machine, handovers = False, 0
    counts: dict[str, int] = {}
    machine = set(machine)
    for name in names:
        here = name in machine
        if not here and costs.is_free(name):
            continue
        handovers += here != on_machine
        on_machine = here
        if not here:
            counts[name] = counts.get(name, 0) + 1
    called = [Called(name, n, n * costs.packed.get(name, 0)) for name, n in counts.items()]
    return called, handovers + on_machine
