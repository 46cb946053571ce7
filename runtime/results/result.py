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
from .peaks import described

RESULT_VERSION = 2


@dataclass(frozen=True)
class RunResult:
    """Outputs of one call and what it cost on the modeled machine.

    Attributes
    ----------
    outputs : list of numpy.ndarray
    output_names : list of str
        What the model's source calls them; empty where it doesn't.
    cycles : int
        Machine cycles of all program calls, one after the other; host operators cost none.
    seconds : float
        `cycles` at the architecture's clock.
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
        Dynamic energy in pJ by component (`runtime.energy`), host operators not counted.
    saturations : int
        Accumulator writes that didn't fit `accumulator_bits`; 0 for programs of this compiler.
    calls : list of dict
        One record per program call, in order; docs/results.md has their fields.
    """

    outputs: list[np.ndarray] = field(repr=False)
    cycles: int
    seconds: float
    unit_cycles: dict[str, dict[str, int]]
    bytes_moved: dict[str, int]
    macs: int
    utilisation: float
    energy_pj: dict[str, float]
    saturations: int
    calls: list[dict] = field(repr=False)
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
            if f.name not in ("outputs", "output_names", "calls")
        }
        return {"version": RESULT_VERSION, **fields, "calls": self.calls}

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
        sum(result.cycles for result in results),
        sum(result.seconds for result in results),
        units,
        {way: sum(result.bytes_moved[way] for result in results) for way in ("read", "written")},
        macs,
        macs / possible if possible else 0.0,
        _summed([result.energy_pj for result in results]),
        sum(result.saturations for result in results),
        [call for result in results for call in result.calls],
    )


def total(
    records: list[dict],
    program: Program | None,
    technology: Technology | None,
    outputs: Sequence[np.ndarray] = (),
) -> RunResult:
    """Return the result of a run: call records completed, and their sums.

    Parameters
    ----------
    records : list of dict
        One per call as the core counts it (`CallRecord` in runtime/src/stats.h), in order.
    program, technology
        What ran, and what its energy is counted in; None for a model that has no program, and
        so no records.
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
    return RunResult(
        list(outputs),
        cycles,
        cycles / (program.arch_numbers["clock_mhz"] * 1e6) if program else 0.0,
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
