"""What is joined: calls of functions, and where their tensors lie in DRAM."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from ...target.isa.instructions import DmaWeight, EndLoop, Loop
from ...target.isa.program import Function
from ...target.isa.spec import ARG, Instruction, Mem, Unit


@dataclass(frozen=True)
class Tensor:
    """Bytes of an argument of the joined function.

    Attributes
    ----------
    argument : int or None
        None for what never leaves the chip, or is read there; `offset` is then its address.
    """

    argument: int | None
    offset: int
    size: int


@dataclass(frozen=True)
class Call:
    """A call of a function.

    Attributes
    ----------
    tensors : tuple of Tensor
        By argument of the function.
    of : tuple of Function
        The functions that it does the work of, one after the other; empty of itself alone.
    behind : int
        Which argument of the second of them is the result of the first.
    """

    function: Function
    tensors: tuple[Tensor, ...]
    of: tuple[Function, ...] = ()
    behind: int = 0


Runs = Mapping[str, tuple[Call, ...]]
"""What functions of several operators are made of, by their names."""


def argument_of(instruction: Instruction) -> int | None:
    """Return the argument that a transfer names, None for other instructions."""
    for name, kind, _ in instruction.operands():
        if kind is ARG:
            return getattr(instruction, name)
    return None


def filled_memory(instruction: Instruction) -> Mem:
    """Return the memory that a load fills."""
    return Mem.WBUF if isinstance(instruction, DmaWeight) else Mem(instruction.mem)  # type: ignore[attr-defined]


def statements(code: tuple[Instruction, ...]) -> Iterator[tuple[int, int]]:
    """Yield for each instruction its index, and where the outermost loop around it starts.

    Outside of loops that is the instruction itself.
    """
    depth = start = 0
    for index, instruction in enumerate(code):
        if depth == 0:
            start = index
        depth += isinstance(instruction, Loop) - isinstance(instruction, EndLoop)
        yield index, start


def executed(code: tuple[Instruction, ...]) -> int:
    """Return how many instructions a run takes at most."""
    counts, total = [1], 0
    for instruction in code:
        total += counts[-1]
        if isinstance(instruction, Loop):
            counts.append(counts[-1] * instruction.count)
        elif isinstance(instruction, EndLoop):
            counts.pop()
    return total


def first_statement(
    code: tuple[Instruction, ...],
    unit: Unit,
    memory: Hashable | None = None,
    argument: int | None = None,
) -> int | None:
    """Return where the outermost loop around a unit's first instruction starts.

    Parameters
    ----------
    memory, argument : optional
        Of loads, only those into this memory, or from this argument.
    """
    for index, start in statements(code):
        instruction = code[index]
        if instruction.unit is not unit:
            continue
        if memory is not None and filled_memory(instruction) is not memory:
            continue
        if argument is not None and argument_of(instruction) != argument:
            continue
        return start
    return None
