"""What a run gives back."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...target.errors import InputError
from ...target.isa.program import Program
from ...target.technology import Technology
from .energy import call_energy, no_energy
from .fields import mistakes
from .host import HostRun, merged
from .peaks import described

RESULT_VERSION = 3
NOTHING = HostRun()


@dataclass(frozen=True)
class RunResult:
    """Outputs of one call and what it cost on the modeled machine and its host.

    Attributes
    ----------
    outputs : list of numpy.ndarray
    output_names : list of str
        What the model's source calls them; empty where it doesn't.
    latency_seconds : float
        Of the whole model, one thing after the other: `seconds`, `host_seconds` and
        `handover_seconds`.
    cycles : int
        Machine cycles of all program calls, one after the other; the host's aren't among them.
    seconds : float
        `cycles` at the architecture's clock.
    host_seconds, handover_seconds : float
        Of what the host ran, and of handing over between it and the machine.
    handovers : int
        How often work went from one to the other.
    unit_cycles : dict of str to dict of str to int
        Per unit: busy, and what it waited for (`Cause` in runtime/src/stats.h); each unit's
        entries add up to `cycles`.
    bytes_moved : dict of str to int
        Off-chip bytes, ``read`` and ``written``.
    macs : int
        Multiply-accumulates done, padding not counted.
    utilisation : float
        `macs` over what the array could do in `cycles` with these weight formats, 0 to 1.
    energy_pj : dict of str to float
        Dynamic energy in pJ by component (`runtime.energy`): the machine's, not the host's.
    saturations : int
        Accumulator writes that didn't fit `accumulator_bits`; 0 for programs of this compiler.
    calls : list of dict
        One record per program call, in order; docs/results.md has their fields.
    host_calls : list of dict
        One record per function that ran on the host, the longest first.
    """

    outputs: list[np.ndarray] = field(repr=False)
    latency_seconds: float
    cycles: int
    seconds: float
    host_seconds: float
    handover_seconds: float
    handovers: int
    unit_cycles: dict[str, dict[str, int]]
    bytes_moved: dict[str, int]
    macs: int
    utilisation: float
    energy_pj: dict[str, float]
    saturations: int
    calls: list[dict] = field(repr=False)
    host_calls: list[dict] = field(default_factory=list, repr=False)
    output_names: list[str] = field(default_factory=list, repr=False)

    @property
    def named(self) -> dict[str, np.ndarray]:
        """The outputs by name: as the model's source calls them, else out0, out1, ..."""
        names = self.output_names
        if len(names) != len(self.outputs):
            names = [f"out{index}" for index in range(len(self.outputs))]
        return dict(zip(names, self.outputs, strict=True))

    def to_json(self) -> dict:
        """Return everything but the outputs, versioned, for files and `--json`."""
        fields = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("outputs", "output_names", "calls", "host_calls")
        }
        lists = {"calls": self.calls, "host_calls": self.host_calls}
        return {"version": RESULT_VERSION, **fields, **lists}

    @classmethod
    def from_json(cls, record: dict) -> "RunResult":
        """Return the result that `to_json` wrote, without outputs.

        Raises
        ------
        InputError
            For another version, and for fields that are missing, unknown or of another type.
        """
        version = record.get("version") if isinstance(record, dict) else None
        if version != RESULT_VERSION:
            raise InputError(
                f"a run's result of version {version!r}; allowed: {RESULT_VERSION}, as "
                "`microscopiq run --json` writes it"
            )
        wrong = mistakes(record)
        if wrong:
            raise InputError(f"a run's result with {len(wrong)} mistake(s): {'; '.join(wrong[:5])}")
        known = {f.name for f in dataclasses.fields(cls)} - {"output_names"}
        return cls(outputs=[], **{key: value for key, value in record.items() if key in known})


def merge(results: list[RunResult]) -> RunResult:
    """Return the result of runs one after the other: outputs and calls in order, costs added."""
    units: dict[str, dict[str, int]] = {}
    for result in results:
        for unit, parts in result.unit_cycles.items():
            row = units.setdefault(unit, {})
            for cause, value in parts.items():
                row[cause] = row.get(cause, 0) + value
    macs = sum(result.macs for result in results)
    possible = sum(result.macs / result.utilisation for result in results if result.utilisation)
    return RunResult(
        [output for result in results for output in result.outputs],
        sum(result.latency_seconds for result in results),
        sum(result.cycles for result in results),
        sum(result.seconds for result in results),
        sum(result.host_seconds for result in results),
        sum(result.handover_seconds for result in results),
        sum(result.handovers for result in results),
        units,
        {way: sum(result.bytes_moved[way] for result in results) for way in ("read", "written")},
        macs,
        macs / possible if possible else 0.0,
        _summed([result.energy_pj for result in results]),
        sum(result.saturations for result in results),
        [call for result in results for call in result.calls],
        merged(result.host_calls for result in results),
    )


def total(
    records: list[dict],
    program: Program | None,
    technology: Technology | None,
    outputs: Sequence[np.ndarray] = (),
    host: HostRun = NOTHING,
) -> RunResult:
    """Return the result of a run: call records completed, and their sums.

    Parameters
    ----------
    records : list of dict
        One per call as the core counts it (`CallRecord` in runtime/src/stats.h), in order.
    program, technology
        What ran, and what its energy is counted in; None for a model that has no program, and
        so no records.
    host : HostRun, optional
        What ran beside it.
    """
    calls = _completed(records, program, technology)
    cycles = sum(call["cycles"] for call in calls)
    macs = sum(call["macs"] for call in calls)
    units: dict[str, dict[str, int]] = {}
    for call in calls:
        for unit, parts in call["units"].items():
            row = units.setdefault(unit, {})
            for cause, value in parts.items():
                row[cause] = row.get(cause, 0) + value
    possible = sum(call["cycles"] * call["peak_macs"] for call in calls)
    seconds = cycles / (program.arch_numbers["clock_mhz"] * 1e6) if program else 0.0
    return RunResult(
        list(outputs),
        seconds + host.seconds + host.handover_seconds,
        cycles,
        seconds,
        host.seconds,
        host.handover_seconds,
        host.handovers,
        units,
        {
            "read": sum(call["dram_bytes"]["read"] for call in calls),
            "written": sum(call["dram_bytes"]["written"] for call in calls),
        },
        macs,
        macs / possible if possible else 0.0,
        _summed([call["energy_pj"] for call in calls]),
        sum(call["saturations"] for call in calls),
        calls,
        host.calls,
    )


def _completed(
    records: list[dict], program: Program | None, technology: Technology | None
) -> list[dict]:
    if program is None or technology is None:
        return []
    return [
        {**call, "energy_pj": call_energy(call, program.arch_numbers, technology)}
        for call in described(records, program)
    ]


def _summed(energies: list[dict[str, float]]) -> dict[str, float]:
    return {part: sum(energy[part] for energy in energies) for part in no_energy()}
