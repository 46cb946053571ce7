"""What a timeline says about an instruction: its place in the listing and its loops' names."""

from dataclasses import dataclass

from ...target.isa.program import Function


@dataclass(frozen=True)
class NamedLoop:
    """A loop of a function.

    Attributes
    ----------
    pc : int
        Byte offset of the `loop` instruction, as listings print it.
    level : int
        Its counter is ``i<level>`` in listings.
    name : str
        What it walks through, from the compiler's note.
    """

    pc: int
    level: int
    count: int
    name: str


@dataclass(frozen=True)
class Step:
    """An instruction in its loops, outermost first."""

    pc: int
    mnemonic: str
    note: str
    loops: tuple[NamedLoop, ...]


class Listing:
    """The instructions of a function by their byte offsets.

    Attributes
    ----------
    steps : dict of int to Step
    """

    def __init__(self, function: Function):
        self.steps: dict[int, Step] = {}
        loops: tuple[NamedLoop, ...] = ()
        offset = 0
        for index, instruction in enumerate(function.code):
            note = function.notes.get(index, "")
            if instruction.mnemonic == "endloop":
                loops = loops[:-1]
            self.steps[offset] = Step(offset, instruction.mnemonic, note, loops)
            if instruction.mnemonic == "loop":
                loops += (_loop(offset, len(loops), instruction.count, note),)
            offset += len(instruction.encode())

    def where(self, pc: int, counters: tuple[int, ...]) -> str:
        """Return the iteration of each loop around an instruction, outermost first."""
        loops = self.steps[pc].loops
        return ", ".join(f"{loop.name} #{counters[loop.level]}" for loop in loops)


def _loop(pc: int, level: int, count: int, note: str) -> NamedLoop:
    counter = f"i{level}"
    # The compiler's note is "i2: array rows".
    return NamedLoop(pc, level, count, note.removeprefix(counter).removeprefix(": ") or counter)
