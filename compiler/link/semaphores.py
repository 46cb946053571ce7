"""Semaphores of joined functions: the same ones serve call after call.

A semaphore is given its first count once, at the start. Then it may serve every call that lets the
same units wait and post, for the same reason, from the same count on: what a call leaves in it is
what the next one starts with. What is left may have been posted late by the call before, so that
calls take turns where there are semaphores enough.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ...target.errors import IsaError
from ...target.isa.instructions import Post, Sem
from ...target.isa.instructions import Wait as WaitInstruction
from ...target.isa.program import Function
from ...target.isa.spec import SEMAPHORES, Unit
from .seams import Stream


@dataclass(frozen=True)
class Role:
    """What a semaphore of a function is for; `count` is its first one."""

    stream: Stream
    count: int


def roles(function: Function) -> dict[int, Role]:
    """Return what each of a function's semaphores is for."""
    counts = {i.sem: i.value for i in function.code if isinstance(i, Sem)}
    posters = {i.sem: (i.queue, bool(i.after)) for i in function.code if isinstance(i, Post)}
    waiters = {i.sem: i.queue for i in function.code if isinstance(i, WaitInstruction)}
    found: dict[int, Role] = {}
    for sem in sorted(posters.keys() | waiters.keys()):
        unit, read = posters[sem]
        found[sem] = Role(Stream(Unit(unit), Unit(waiters[sem]), read), counts.get(sem, 0))
    return found


class Pool:
    """Semaphores by role, and those between calls.

    Raises
    ------
    IsaError
        When the machine has too few.
    """

    def __init__(self, functions: list[Function], streams: Iterable[Stream]):
        needed: Counter[Role] = Counter()
        for function in functions:
            needed |= Counter(roles(function).values())
        self.streams = {stream: at for at, stream in enumerate(dict.fromkeys(streams))}
        least = sum(needed.values()) + len(self.streams)
        if least > SEMAPHORES:
            raise IsaError(
                f"{len(functions)} functions need {least} semaphores together; the machine has "
                f"{SEMAPHORES}"
            )
        self.free: dict[Role, list[int]] = {}
        self.counts: dict[int, int] = {}
        spare, number = SEMAPHORES - least, len(self.streams)
        # A count of 0 leaves no tokens, so that nothing is gained by turns.
        for role, count in sorted(needed.items(), key=lambda item: item[0].stream.waiter):
            more = min(count if role.count else 0, spare)
            spare -= more
            self.free[role] = list(range(number, number + count + more))
            self.counts |= dict.fromkeys(self.free[role], role.count)
            number += count + more

    def numbers(self, function: Function) -> dict[int, int]:
        """Return the semaphores that stand for a function's own: those longest unused."""
        taken = {}
        for sem, role in roles(function).items():
            number = self.free[role].pop(0)
            taken[sem] = number
        for sem, role in roles(function).items():
            self.free[role].append(taken[sem])
        return taken
