"""A program of one operator, for studies that need no model around it."""

from ...target.arch import Arch
from ...target.isa.program import Program
from ..kinds.registry import emit, scheduled
from ..operators import Operator


def operator_program(
    op: Operator, arch: Arch, weights: bytes = b"", name: str = "operator", layer: str = ""
) -> Program:
    """Return a program whose only function runs an operator under its default schedule.

    Parameters
    ----------
    weights : bytes
        Packed weight segment; empty for an operator without constant weights.

    Raises
    ------
    CapacityError
        When not even the smallest tile fits the architecture's memories.
    """
    function = emit(scheduled(op, arch).mod["main"], arch, name, layer, weights)
    return Program.for_arch(arch, {name: function})
