"""What orders neighbours: tokens for each hazard between calls, and none for anything else.

Units run on from call to call through their queues. A unit that is about to fill bytes waits until
those who touched them before are done; one that is about to read waits for who wrote them.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from ...target.isa.spec import Unit
from .calls import Call, first_statement
from .history import History, Interval

PLANES = "planes"
"""In the place of a memory: the array's weight planes."""


@dataclass(frozen=True)
class Stream:
    """Tokens from one unit to another; `read`: operands were read, not results written."""

    poster: Unit
    waiter: Unit
    read: bool


@dataclass(frozen=True)
class Wait:
    """A wait before an instruction of a call, for what the poster has done up to another call."""

    stream: Stream
    posted: int
    place: int


@dataclass(frozen=True)
class Access:
    """Bytes that a call touches.

    Attributes
    ----------
    memory : Hashable
        On the chip, or an argument of the joined function.
    argument : int or None
        Of the call, which names these bytes; None on the chip.
    """

    memory: Hashable
    span: Interval
    writers: frozenset[Unit]
    readers: frozenset[Unit]
    argument: int | None = None


def waits(calls: list[Call]) -> list[list[Wait]]:
    """Return what each call waits for; who waits takes tokens in the order in which they're posted.

    A token says that its unit is done with a call and all before it, so that one is enough for
    whatever these did.
    """
    history = History()
    known: dict[Stream, int] = {}
    found: list[list[Wait]] = []
    for number, call in enumerate(calls):
        accesses = list(_accesses(call))
        needs = [need for access in accesses for need in _needs(history, call, access)]
        found.append([])
        for need in sorted(needs, key=lambda need: (need.place, -need.posted, need.stream.read)):
            written = Stream(need.stream.poster, need.stream.waiter, False)
            if need.posted <= max(known.get(need.stream, -1), known.get(written, -1)):
                continue
            known[need.stream] = need.posted
            found[-1].append(need)
        for access in accesses:
            for wrote, units in ((False, access.readers), (True, access.writers)):
                for unit in units:
                    history.add(access.memory, unit, wrote, access.span, number)
    return found


def _accesses(call: Call) -> Iterator[Access]:
    for buffer in call.function.buffers:
        span = (buffer.base, buffer.base + buffer.size)
        memory, span = (buffer.mem, span) if buffer.size else (PLANES, (0, 1))
        yield Access(memory, span, buffer.writers, buffer.readers)
    for number, (argument, tensor) in enumerate(
        zip(call.function.arguments, call.tensors, strict=True)
    ):
        if tensor.argument is None:
            continue
        span = (tensor.offset, tensor.offset + tensor.size)
        units = frozenset({Unit.DMA_OUT if argument.is_output else Unit.DMA_IN})
        nobody: frozenset[Unit] = frozenset()
        writers, readers = (units, nobody) if argument.is_output else (nobody, units)
        yield Access(("argument", tensor.argument), span, writers, readers, number)


def _needs(history: History, call: Call, access: Access) -> Iterator[Wait]:
    """Yield what the units wait for that touch some bytes first."""
    for waiter in access.writers or access.readers:
        place = _first_touch(call, access, waiter)
        if place is None:
            continue
        for poster, wrote, posted in history.last(access.memory, access.span):
            if poster is not waiter and (wrote or access.writers):
                yield Wait(Stream(poster, waiter, not wrote), posted, place)


def _first_touch(call: Call, access: Access, unit: Unit) -> int | None:
    """Return the statement by which a unit may touch bytes first."""
    code = call.function.code
    if unit is not Unit.DMA_IN:
        return first_statement(code, unit)
    if access.argument is not None:
        return first_statement(code, unit, argument=access.argument)
    return first_statement(code, unit, memory=access.memory)
