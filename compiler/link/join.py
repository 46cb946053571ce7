"""One function of several: their instructions one after the other, and what orders neighbours."""

import dataclasses
from typing import Any

from ...target.errors import IsaError
from ...target.isa.instructions import DmaWeight, End, Post, Sem
from ...target.isa.instructions import Wait as WaitInstruction
from ...target.isa.program import Argument, Function, Part
from ...target.isa.spec import Instruction, Unit
from ...target.segment import is_shape_only, panels, segment_of
from .calls import Call, argument_of, executed
from .seams import Wait, waits
from .semaphores import Pool

ARGUMENTS = 1 << 8
"""An instruction names an argument in a byte."""
INSTRUCTIONS = 200_000_000
"""That a call may run; both loaders refuse more."""
SEGMENT_BYTES = 1 << 32
"""A weight segment's directory has offsets of 32 bits."""


def join(name: str, arguments: tuple[Argument, ...], calls: list[Call]) -> Function:
    """Return the function that does what the calls did, one after the other.

    Raises
    ------
    IsaError
        When that is more than a function can have: arguments, semaphores, instructions, weights.
    """
    functions = [call.function for call in calls]
    if len(arguments) > ARGUMENTS:
        raise IsaError(f"{name}: {len(arguments)} arguments; allowed: {ARGUMENTS}")
    if (count := sum(executed(function.code) for function in functions)) > INSTRUCTIONS:
        raise IsaError(f"{name}: {count:,} instructions in a call; allowed: {INSTRUCTIONS:,}")
    seams = waits(calls)
    pool = Pool(functions, [each.stream for seam in seams for each in seam])
    segment, first_panel = _weights(name, functions)
    posts: dict[int, list[Wait]] = {}
    for each in [each for seam in seams for each in seam]:
        posts.setdefault(each.posted, []).append(each)
    code: list[Instruction] = [Sem(sem, count) for sem, count in pool.counts.items() if count]
    notes: dict[int, str] = {}
    parts = []
    for number, call in enumerate(calls):
        function = call.function
        parts.append(Part(function.name, function.layer, function.macs, len(code) if number else 0))
        renamed = pool.numbers(function)
        before: dict[int, list[Wait]] = {}
        for each in seams[number]:
            before.setdefault(each.place, []).append(each)
        for index, instruction in enumerate(function.code):
            for each in before.get(index, []):
                notes[len(code)] = f"for {calls[each.posted].function.layer}"
                code.append(WaitInstruction(each.stream.waiter, pool.streams[each.stream]))
            if isinstance(instruction, Sem | End):
                continue
            if index in function.notes:
                notes[len(code)] = function.notes[index]
            code.append(_moved(instruction, call, renamed, first_panel.get(function.name, 0)))
        for each in posts.get(number, []):
            stream = each.stream
            code.append(Post(stream.poster, pool.streams[stream], int(stream.read)))
    code.append(End())
    layer = f"{functions[0].layer} to {functions[-1].layer}"
    macs = sum(function.macs for function in functions)
    buffers = tuple(
        dataclasses.replace(buffer, name=f"{function.layer}: {buffer.name}")
        for function in functions
        for buffer in function.buffers
    )
    return Function(
        name, layer, arguments, tuple(code), segment, macs, notes, tuple(parts), buffers
    )


def _weights(name: str, functions: list[Function]) -> tuple[bytes, dict[str, int]]:
    """Return one segment of all panels, and where those of each function start."""
    first: dict[str, int] = {}
    every: list[bytes] = []
    for function in functions:
        if not function.weights or function.name in first:
            continue
        if is_shape_only(function.weights):
            raise IsaError(
                f"{name}: weights of '{function.name}' are shapes alone; allowed: weights"
            )
        first[function.name] = len(every)
        every += panels(function.weights)
    size = sum(map(len, every)) + 4 * (len(every) + 2)
    if size >= SEGMENT_BYTES:
        raise IsaError(f"{name}: {size:,} bytes of weights; allowed: below {SEGMENT_BYTES:,}")
    return segment_of(every) if every else b"", first


def _moved(
    instruction: Instruction, call: Call, renamed: dict[int, int], panel: int
) -> Instruction:
    """Return an instruction with the joined function's semaphores, arguments and panels."""
    changed: dict[str, Any] = {}
    number = argument_of(instruction)
    if isinstance(instruction, Post | WaitInstruction):
        changed["sem"] = renamed[instruction.sem]
    elif isinstance(instruction, DmaWeight):
        changed["panel"] = instruction.panel + panel  # type: ignore[operator]
    elif number is not None:
        tensor = call.tensors[number]
        off_chip = "dst" if instruction.unit is Unit.DMA_OUT else "src"
        changed["arg"] = tensor.argument
        changed[off_chip] = getattr(instruction, off_chip) + tensor.offset
    return dataclasses.replace(instruction, **changed) if changed else instruction  # type: ignore[type-var]
