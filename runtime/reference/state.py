"""State of one run of the NumPy reference: memories, arguments, planes and registers."""

import numpy as np

from ...target.arch import Arch
from ...target.errors import SimError
from ...target.isa.program import Function
from ...target.isa.spec import EXTENT_REGISTERS, SEMAPHORES, Affine, Instruction, Mem
from .array import Plane

POISON = 0xA5
"""Fills the memories at the start, so that a read before any write shows in the numbers."""
Box = tuple[int, int]


class State:
    """What instructions read and write; every access is checked.

    Attributes
    ----------
    memories : list of numpy.ndarray
        uint8, by `Mem`.
    arguments : list of numpy.ndarray
        uint8 views of the function's arguments.
    extents : list
        Extent registers, None while unset.
    counters : tuple of int
        Loop counters, outermost first.
    """

    def __init__(self, function: Function, arch: Arch, arguments: list[np.ndarray]):
        self.function, self.arch, self.arguments = function, arch, arguments
        capacities = (arch.spad_bytes, arch.wbuf_bytes, arch.acc_bytes, arch.obuf_bytes)
        self.memories = [np.full(capacity, POISON, np.uint8) for capacity in capacities]
        self.planes: list[Plane | None] = [None] * arch.weight_planes
        self.extents: list[int | None] = [None] * EXTENT_REGISTERS
        self.semaphores, self.first_counts = [0] * SEMAPHORES, [0] * SEMAPHORES
        self.counters: tuple[int, ...] = ()

    def at(self, operand: Affine) -> int:
        """Return an affine operand's value for the current loop counters."""
        return operand.at(self.counters)

    def extent(self, register: int) -> int:
        """Return an extent register; reading one that no `clip` has set is an error."""
        value = self.extents[register] if register < EXTENT_REGISTERS else None
        if value is None:
            raise SimError(f"extent register e{register} is unset")
        return value

    def box(self, i: Instruction) -> Box | None:
        """Return (rows, cols), or None if there is nothing to do."""
        rows, cols = self.extent(i.rows), self.extent(i.cols)
        return (rows, cols) if rows and cols else None

    def plane_number(self, i: Instruction) -> int:
        """Return the number of the weight plane that an instruction names."""
        number = self.at(i.plane)
        if not 0 <= number < len(self.planes):
            raise SimError(f"weight plane {number}; the array has {len(self.planes)}")
        return number

    def load(self, mem: int, first: Affine, pitch: int, rows: int, width: int) -> np.ndarray:
        """Return uint8 ``(rows, width)`` of a memory."""
        index = self._index(mem, first, pitch, rows, width)
        return self.memories[mem][index]

    def store(self, mem: int, first: Affine, pitch: int, data: np.ndarray) -> None:
        """Write the bytes of a 2-d array to a memory."""
        raw = np.ascontiguousarray(data).view(np.uint8)
        index = self._index(mem, first, pitch, *raw.shape)
        if len(raw) > 1 and pitch < raw.shape[1]:
            raise SimError(f"rows of {raw.shape[1]} bytes written {pitch} bytes apart overlap")
        self.memories[mem][index] = raw

    def _index(self, mem: int, first: Affine, pitch: int, rows: int, width: int) -> np.ndarray:
        if mem not in list(Mem):
            raise SimError(f"memory {mem} doesn't exist")
        start = self.at(first)
        name, capacity = Mem(mem).name.lower(), len(self.memories[mem])
        check(name, capacity, start, start + pitch * (rows - 1) + width - 1)
        return start + pitch * np.arange(rows)[:, None] + np.arange(width)

    def argument(self, number: int) -> np.ndarray:
        """Return the bytes of a function argument."""
        if number >= len(self.arguments):
            raise SimError(f"argument {number} of {len(self.arguments)}")
        return self.arguments[number]

    def argument_index(self, i: Instruction, first: Affine, strides: Box, box: Box) -> np.ndarray:
        """Return byte indices ``(rows, cols, element)`` of a strided box of an argument."""
        if i.element not in (1, 2, 4, 8):
            raise SimError(f"element of {i.element} bytes; allowed: 1, 2, 4, 8")
        rows, cols = np.arange(box[0]) * strides[0], np.arange(box[1]) * strides[1]
        index = self.at(first) + rows[:, None, None] + cols[:, None] + np.arange(i.element)
        capacity = len(self.argument(i.arg))
        check(f"argument {i.arg}", capacity, int(index.min()), int(index.max()))
        return index


def check(name: str, capacity: int, first: int, last: int) -> None:
    """Refuse an access from byte ``first`` to ``last`` that leaves ``capacity`` bytes."""
    if first < 0 or last >= capacity:
        raise SimError(f"{name} bytes {first:#x} to {last:#x}; it has {capacity:#x}")
