"""Where on the chip each of the joined functions has its buffers."""

from collections.abc import Mapping

from ...target.arch import Arch
from ...target.isa.program import Function
from ...target.isa.spec import Mem
from ..tiling.nest import ALIGNMENT, round_up


def sizes(function: Function) -> dict[Mem, int]:
    """Return the bytes of each memory that a function's buffers take, from its origin on."""
    need = dict.fromkeys(Mem, 0)
    for buffer in function.buffers:
        need[buffer.mem] += buffer.size
    return need


def origins(functions: list[Function], arch: Arch) -> list[Mapping[Mem, int]]:
    """Return where each function's buffers start in each memory.

    Each goes behind the one before it as long as there's room, then from the start again: its first
    loads have nothing to wait for but what is longest past.
    """
    capacity = {
        Mem.SPAD: arch.spad_bytes,
        Mem.WBUF: arch.wbuf_bytes,
        Mem.ACC: arch.acc_bytes,
        Mem.OBUF: arch.obuf_bytes,
    }
    end = dict.fromkeys(Mem, 0)
    found: list[Mapping[Mem, int]] = []
    for function in functions:
        origin = {}
        for mem, size in sizes(function).items():
            start = round_up(end[mem], ALIGNMENT)
            origin[mem] = start if start + size <= capacity[mem] else 0
            end[mem] = origin[mem] + size
        found.append(origin)
    return found
