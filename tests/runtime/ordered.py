"""Orders a hand-made program: each unit waits for the one before it."""

from collections.abc import Iterable

from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.spec import SEMAPHORES, Instruction, Unit

UNITS = len(Unit)


def ordered(code: Iterable[Instruction]) -> list[Instruction]:
    """Return the code with a token from each instruction to the next one of another unit.

    A program that only checks values has no overlap to win, and debug mode refuses units that
    meet in no defined order. Semaphores are taken from the last one down, one per pair of units.
    """
    out: list[Instruction] = []
    previous: Unit | None = None
    firsts: list[Unit | None] = []  # of each open loop, the first unit in its body
    for instruction in code:
        if isinstance(instruction, isa.Loop):
            firsts.append(None)
        elif isinstance(instruction, isa.EndLoop):
            # The next round starts with the first unit, behind the last one of this round.
            first = firsts.pop() if firsts else None
            if first is not None:
                out += _token(previous, first)
                previous = first
                if firsts and firsts[-1] is None:
                    firsts[-1] = first
        elif instruction.unit not in (None, Unit.CONTROL):
            out += _token(previous, instruction.unit)
            previous = instruction.unit
            firsts = [previous if first is None else first for first in firsts]
        out.append(instruction)
    return out


def _token(before: Unit | None, after: Unit) -> list[Instruction]:
    if before is None or before is after:
        return []
    sem = SEMAPHORES - 1 - ((before - 1) * (UNITS - 2) + after - 1 - (after > before))
    return [isa.Post(before, sem, 0), isa.Wait(after, sem)]
