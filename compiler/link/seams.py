"""What orders neighbours: tokens for each hazard between calls, and none for anything else.

Units run on from call to call through their queues. A unit that is about to fill bytes waits until
those who touched them before are done; one that is about to read waits for who wrote them.
"""

from collections.abc import Iterator
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


def waits(calls: list[Call]) -> list[list[Wait]]:
    """Return what each call waits for; who waits takes tokens in the order in which they're posted.

    A token says that its unit is done with a call and all before it, so that one is enough for
    whatever these did.
    """
    history, known = History(), dict[Stream, int]()
    found: list[list[Wait]] = []
    for number, call in enumerate(calls):
        needs = [need for access in _accesses(call) for need in _needs(history, call, *access)]
        found.append([])
        for need in sorted(needs, key=lambda need: (need.place, -need.posted, need.stream.read)):
            written = Stream(need.stream.poster, need.stream.waiter, False)
            if need.posted <= max(known.get(need.stream, -1), known.get(written, -1)):
                continue
            known[need.stream] = need.posted
            found[-1].append(need)
        for memory, span, writers, readers in _accesses(call):
            for unit in readers:
                history.add(memory, unit, False, span, number)
            for unit in writers:
                history.add(memory, unit, True, span, number)
    return found


Access = tuple[object, Interval, frozenset[Unit], frozenset[Unit]]
"""A memory, some bytes of it, who writes them, and who reads them."""


def _accesses(call: Call) -> Iterator[Access]:
    for buffer in call.function.buffers:
        span = (buffer.base, buffer.base + buffer.size)
        if buffer.size:
            yield buffer.mem, span, buffer.writers, buffer.readers
        else:
            yield PLANES, (0, 1), buffer.writers, buffer.readers
    for outputs in (False, True):
        for tensor in call.touched(outputs):
            span = (tensor.offset, tensor.offset + tensor.size)
            writers = frozenset({Unit.DMA_OUT} if outputs else ())
            readers = frozenset(() if outputs else {Unit.DMA_IN})
            yield ("dram", tensor.argument), span, writers, readers


def _needs(
    history: History,
    call: Call,
    memory,
    span: Interval,
    writers: frozenset[Unit],
    readers: frozenset[Unit],
) -> Iterator[Wait]:
    """Yield what the units wait for that touch some bytes first."""
    off_chip = isinstance(memory, tuple)
    code = call.function.code
    for waiter in writers or readers:
        place = None
        if off_chip and waiter is Unit.DMA_IN:
            places = [
                first_statement(code, waiter, argument=number)
                for number, tensor in enumerate(call.tensors)
                if ("dram", tensor.argument) == memory and (tensor.offset, tensor.offset + tensor.size) == span
            ]
            place = min((each for each in places if each is not None), default=None)
        elif waiter is Unit.DMA_IN:
            place = first_statement(code, waiter, memory=memory)
        else:
            place = first_statement(code, waiter)
        if place is None:
            continue
        for poster, wrote, posted in history.last(memory, span):
            if poster is waiter or not (wrote or writers):
                continue
            yield Wait(Stream(poster, waiter, not wrote), posted, place)
