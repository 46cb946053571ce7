"""What of a run stays on the chip, and where each of its functions has its buffers.

Results that stay lie at the end of a memory; the buffers that a call has for itself go behind those
of the call before it, in what is left. A result stays for as many of its readers as there's room.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ...target.arch import Arch
from ...target.isa.program import Function, size_of
from ...target.isa.spec import Mem
from ..emit.state import Room
from ..tiling.nest import ALIGNMENT, round_up

STEP = 64
"""Bytes to which what stays is aligned."""
Source = tuple[int, int]
"""A result: number of its call in the run, and of the result."""
Reader = tuple[int, int]
"""Number of a call, and of its argument."""


@dataclass(frozen=True)
class Kept:
    """A result that stays: its place from the end of a memory, and the readers it stays for."""

    mem: Mem
    offset: int
    size: int
    first: int
    readers: tuple[Reader, ...]

    @property
    def last(self) -> int:
        """The last call that needs it there."""
        return max(call for call, _ in self.readers)


@dataclass
class Plan:
    """What stays of a run.

    Attributes
    ----------
    kept : dict of Source to Kept
    own : list of dict of Mem to int
        Bytes of the buffers that each call has for itself.
    """

    functions: list[Function]
    capacity: dict[Mem, int]
    kept: dict[Source, Kept] = field(default_factory=dict)
    own: list[dict[Mem, int]] = field(default_factory=list)

    def reach(self, mem: Mem, call: int) -> int:
        """Return how far what stays reaches at a call, from the end of a memory."""
        ends = [k.offset + k.size for k in self.kept.values() if k.mem is mem and _at(k, call)]
        return max(ends, default=0)


def keep(functions: list[Function], readers: Mapping[Source, list[Reader]], arch: Arch) -> Plan:
    """Return what stays of the results that `readers` has, in the order in which they are made."""
    capacity = {
        Mem.SPAD: arch.spad_bytes,
        Mem.WBUF: arch.wbuf_bytes,
        Mem.ACC: arch.acc_bytes,
        Mem.OBUF: arch.obuf_bytes,
    }
    plan = Plan(functions, capacity, own=[_sizes(function) for function in functions])
    for source in sorted(readers):
        for candidate in _candidates(plan, source, readers[source]):
            if _fits(plan, source, candidate):
                _commit(plan, source, candidate)
                break
    return plan


def _candidates(plan: Plan, source: Source, readers: list[Reader]) -> Iterator[Kept]:
    """Yield a result's places: for all its readers that can, then for fewer of the last ones."""
    call, _ = source
    argument = argument_number(plan.functions[call], source)
    mem = _memory(plan.functions[call], argument)
    if mem is None:
        return
    able = sorted(r for r in readers if _memory(plan.functions[r[0]], r[1]) is mem)
    size = round_up(size_of(plan.functions[call].arguments[argument]), STEP)
    while able:
        last = able[-1][0]
        lives = [k for k in plan.kept.values() if k.mem is mem and _at(k, call, last)]
        yield Kept(mem, _free(lives, size), size, call, tuple(able))
        able = [reader for reader in able if reader[0] < last]


def _free(lives: list[Kept], size: int) -> int:
    """Return the lowest offset beside what stays at the same time."""
    offset = 0
    for kept in sorted(lives, key=lambda kept: kept.offset):
        if kept.offset - offset >= size:
            break
        offset = max(offset, kept.offset + kept.size)
    return offset


def _at(kept: Kept, call: int, last: int | None = None) -> bool:
    """Tell whether a result stays at a call, or at any from it to another one."""
    return kept.first <= (call if last is None else last) and kept.last >= call


def _fits(plan: Plan, source: Source, candidate: Kept) -> bool:
    mem, end = candidate.mem, candidate.offset + candidate.size
    spared = _spared(plan, source, candidate)
    return all(
        plan.own[call][mem] - spared.get(call, 0) + max(end, plan.reach(mem, call))
        <= plan.capacity[mem]
        for call in range(candidate.first, candidate.last + 1)
    )


def _spared(plan: Plan, source: Source, candidate: Kept) -> dict[int, int]:
    """Return the bytes that calls needn't have for themselves any more."""
    call, _ = source
    places = [(call, argument_number(plan.functions[call], source)), *candidate.readers]
    spared: dict[int, int] = {}
    for number, argument in places:
        buffers = plan.functions[number].buffers
        sizes = [round_up(b.size, ALIGNMENT) for b in buffers if b.argument == argument]
        spared[number] = spared.get(number, 0) + sum(sizes)
    return spared


def _commit(plan: Plan, source: Source, candidate: Kept) -> None:
    for call, spared in _spared(plan, source, candidate).items():
        plan.own[call][candidate.mem] -= spared
    plan.kept[source] = candidate


def argument_number(function: Function, source: Source) -> int:
    """Return which argument of its function a result is."""
    outputs = [n for n, argument in enumerate(function.arguments) if argument.is_output]
    return outputs[source[1]]


def _memory(function: Function, argument: int) -> Mem | None:
    """Return where tiles of an argument lie, if it may lie there as a whole."""
    return next((b.mem for b in function.buffers if b.argument == argument), None)


def _sizes(function: Function) -> dict[Mem, int]:
    need = dict.fromkeys(Mem, 0)
    for buffer in function.buffers:
        need[buffer.mem] += round_up(buffer.size, ALIGNMENT)
    return need


def rooms(plan: Plan, readers: Mapping[Source, list[Reader]], outside: set[Source]) -> list[Room]:
    """Return where each call has its buffers.

    Parameters
    ----------
    outside : set of Source
        Results that are read outside of the run; these are stored in any case.
    """
    found = [Room(origin) for origin in _origins(plan)]
    for source, kept in plan.kept.items():
        call, _ = source
        address = plan.capacity[kept.mem] - kept.offset - kept.size
        argument = argument_number(plan.functions[call], source)
        goes_off = source in outside or len(kept.readers) < len(readers[source])
        stored = found[call].stored | ({argument} if goes_off else set())
        found[call] = replace(found[call], stored=stored)
        for number, each in ((call, argument), *kept.readers):
            found[number] = replace(found[number], kept={**found[number].kept, each: address})
    return found


def _origins(plan: Plan) -> list[Mapping[Mem, int]]:
    """Return where each call's own buffers start.

    Each goes behind the one before it as long as there's room, then from the start again: its first
    loads have nothing to wait for but what is longest past.
    """
    end = dict.fromkeys(Mem, 0)
    found: list[Mapping[Mem, int]] = []
    for call, own in enumerate(plan.own):
        origin = {}
        for mem, size in own.items():
            start = round_up(end[mem], ALIGNMENT)
            limit = plan.capacity[mem] - plan.reach(mem, call)
            origin[mem] = start if start + size <= limit else 0
            end[mem] = origin[mem] + size
        found.append(origin)
    return found
