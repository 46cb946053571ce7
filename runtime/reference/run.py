"""The slow NumPy meaning of every instruction: the judge of the C++ core.

One instruction at a time in program order, memories as byte arrays; it has no code in common
with the core. `run` is for tests on small programs.
"""

import numpy as np

from ...target.arch import Arch
from ...target.errors import InputError, IsaError, SimError
from ...target.isa.program import Function
from ...target.isa.spec import EXTENT_REGISTERS, LOOP_DEPTH, SEMAPHORES, Instruction, Unit
from .state import State
from .units import EXECUTE


def run(function: Function, arch: Arch, arguments: list[np.ndarray]) -> None:
    """Execute a function; output arguments are written in place.

    Parameters
    ----------
    function : Function
    arch : Arch
    arguments : list of numpy.ndarray
        C-contiguous, dtype and shape as the function declares them, outputs last.

    Raises
    ------
    InputError
        For arguments that don't match the declaration.
    IsaError
        For code without structure: open loops, no `end`.
    SimError
        For an illegal action, with the instruction that did it.
    """
    function = _at_sizes(function, arguments)
    ends = _matching_ends(function.code)
    state = State(function, arch, _argument_bytes(function, arguments))
    _block(state, 0, len(function.code), ends)


def _at_sizes(function: Function, arguments: list[np.ndarray]) -> Function:
    """Return the function for the sizes that its arguments tell."""
    declared = [argument.shape for argument in function.arguments]
    given = [array.shape for array in arguments]
    if not function.sizes or list(map(len, declared)) != list(map(len, given)):
        return function
    return function.at(function.sizes.of(given))


def _argument_bytes(function: Function, arguments: list[np.ndarray]) -> list[np.ndarray]:
    wanted = function.arguments
    if len(arguments) != len(wanted):
        raise InputError(f"{len(arguments)} arguments; {function.name} has {len(wanted)}")
    views = []
    for declared, array in zip(wanted, arguments, strict=True):
        if array.shape != tuple(declared.shape) or array.dtype != declared.dtype:
            raise InputError(
                f"argument '{declared.name}': {array.dtype}{array.shape}; "
                f"{declared.dtype}{tuple(declared.shape)} is declared"
            )
        if not array.flags.c_contiguous:
            raise InputError(f"argument '{declared.name}' isn't C-contiguous")
        views.append(array.reshape(-1).view(np.uint8))
    return views


def _matching_ends(code: tuple[Instruction, ...]) -> dict[int, int]:
    """Return the endloop of each loop; check that the code's structure is whole."""
    ends: dict[int, int] = {}
    open_loops: list[int] = []
    for pc, instruction in enumerate(code):
        if instruction.mnemonic == "loop":
            open_loops.append(pc)
            if len(open_loops) > LOOP_DEPTH:
                raise IsaError(f"pc {pc}: loops nest deeper than {LOOP_DEPTH}")
        elif instruction.mnemonic == "endloop":
            if not open_loops:
                raise IsaError(f"pc {pc}: endloop without a loop")
            ends[open_loops.pop()] = pc
        elif instruction.mnemonic == "break" and not open_loops:
            raise IsaError(f"pc {pc}: break without a loop")
        elif instruction.mnemonic == "end" and pc != len(code) - 1:
            raise IsaError(f"pc {pc}: instructions after end")
    if open_loops:
        raise IsaError(f"pc {open_loops[-1]}: loop without an endloop")
    if not code or code[-1].mnemonic != "end":
        raise IsaError("the code doesn't finish with end")
    return ends


def _block(state: State, pc: int, end: int, ends: dict[int, int]) -> bool:
    """Execute the instructions from ``pc`` up to ``end``, loops by recursion.

    Returns whether a `break` of their loop ended them early.
    """
    while pc < end:
        instruction = state.function.code[pc]
        try:
            _execute(state, instruction)
        except SimError as error:
            raise SimError(f"{state.function.name} pc {pc}: {instruction}: {error}") from None
        if instruction.mnemonic == "break" and state.extent(instruction.extent) == 0:
            return True
        if instruction.mnemonic == "loop":
            outer = state.counters
            for counter in range(instruction.count):
                state.counters = (*outer, counter)
                if _block(state, pc + 1, ends[pc], ends):
                    break
            state.counters, pc = outer, ends[pc]
        pc += 1
    return False


def _execute(state: State, i: Instruction) -> None:
    match i.mnemonic:
        case "loop":
            if i.count < 1:
                raise SimError("a loop runs at least once")
        case "break":
            state.extent(i.extent)
        case "clip":
            if i.extent >= EXTENT_REGISTERS:
                raise SimError(f"extent register e{i.extent} doesn't exist")
            state.extents[i.extent] = max(0, min(i.tile, i.limit - state.at(i.start)))
        case "sem" | "wait" | "post":
            _token(state, i)
        case "end":
            _end(state)
        case mnemonic:
            EXECUTE[mnemonic](state, i)


def _token(state: State, i: Instruction) -> None:
    if i.sem >= SEMAPHORES:
        raise SimError(f"semaphore {i.sem}; allowed: 0..{SEMAPHORES - 1}")
    if i.mnemonic == "sem":
        state.semaphores[i.sem] = state.first_counts[i.sem] = i.value
        return
    if i.queue not in list(Unit):
        raise SimError(f"queue {i.queue} is no unit")
    if i.mnemonic == "wait" and state.semaphores[i.sem] == 0:
        raise SimError(f"semaphore {i.sem} is 0: nothing earlier in the program posts it")
    state.semaphores[i.sem] += 1 if i.mnemonic == "post" else -1


def _end(state: State) -> None:
    for number, now in enumerate(state.semaphores):
        first = state.first_counts[number]
        if now != first:
            raise SimError(f"semaphore {number} ends at {now}, it started at {first}")
