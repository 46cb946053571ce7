"""What a program takes of each memory: peaks, and every tensor and buffer with its place."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from ..target.arch import Arch
from ..target.isa.program import Function, Program, size_of
from ..target.isa.spec import Mem
from .link.calls import Runs

DRAM = "dram"


@dataclass(frozen=True)
class Taken:
    """Bytes of a memory.

    Attributes
    ----------
    function : str
        Of the program.
    layer : str
        Who has them; empty of a function's own tensors.
    tensor : str
    memory : str
        ``dram``, or one on the chip.
    offset, size : int
        On the chip from the memory's start. In DRAM from that of an argument: inputs and outputs
        are arguments by themselves, what lies in the workspace has ``workspace`` in its name.
    """

    function: str
    layer: str
    tensor: str
    memory: str
    offset: int
    size: int


def memory_plan(program: Program, runs: Runs, arch: Arch) -> dict:
    """Return the plan as JSON has it: peaks by memory, and what takes them.

    A peak is that of the function that takes most. In DRAM it is all of its tensors together,
    and of weights those of all functions, which lie there always.

    Parameters
    ----------
    runs : mapping of str to tuple of Call
        What the functions of several operators are made of.
    """
    taken = [each for function in program.functions.values() for each in _taken(function, runs)]
    peaks = {DRAM: _dram(program), **{mem.name.lower(): _chip(taken, mem, arch) for mem in Mem}}
    return {"peaks": peaks, "tensors": [asdict(each) for each in taken]}


def _dram(program: Program) -> dict[str, int]:
    functions = program.functions.values()
    weights = sum(len(function.weights) for function in functions)
    tensors = [sum(map(size_of, function.arguments)) for function in functions]
    workspaces = [_workspace(function) for function in functions]
    return {
        "peak_bytes": weights + max(tensors, default=0),
        "weight_bytes": weights,
        "tensor_bytes": max(tensors, default=0),
        "workspace_bytes": max(workspaces, default=0),
    }


def _workspace(function: Function) -> int:
    return sum(size_of(a) for a in function.arguments if function.parts and a.name == "workspace")


def _chip(taken: list[Taken], mem: Mem, arch: Arch) -> dict[str, int]:
    ends = [each.offset + each.size for each in taken if each.memory == mem.name.lower()]
    capacity = getattr(arch, f"{mem.name.lower()}_bytes")
    return {"peak_bytes": max(ends, default=0), "capacity_bytes": capacity}


def _taken(function: Function, runs: Runs) -> Iterator[Taken]:
    name = function.name
    for argument in function.arguments:
        yield Taken(name, "", argument.name, DRAM, 0, size_of(argument))
    for call in runs.get(name, ()):
        pairs = zip(call.function.arguments, call.tensors, strict=True)
        for argument, tensor in pairs:
            if tensor.argument is None:
                continue
            where = function.arguments[tensor.argument].name
            if argument.is_output and where == "workspace":
                tensor_name = f"{argument.name} in the workspace"
                layer = call.function.layer
                yield Taken(name, layer, tensor_name, DRAM, tensor.offset, tensor.size)
    operators = [call.function for call in runs.get(name, ())] or [function]
    for operator in operators:
        for buffer in operator.buffers:
            if buffer.size:
                memory = buffer.mem.name.lower()
                yield Taken(name, operator.layer, buffer.name, memory, buffer.base, buffer.size)


def largest(plan: Mapping, memory: str) -> dict | None:
    """Return the tensor or buffer that takes most of a memory, None when nothing does."""
    rows = [row for row in plan["tensors"] if row["memory"] == memory]
    return max(rows, key=lambda row: row["size"], default=None)
