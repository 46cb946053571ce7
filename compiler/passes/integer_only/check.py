"""Shows that a program computes in integers between a model's inputs and outputs.

An instruction touches a floating-point number if it is one that takes or gives fp32: which those
are follows from what the instruction set says of operands and operations. Operators of the program
may have such instructions where a model's fp32 inputs become integers, and where integers become
its fp32 outputs: those that load or store a tensor of fp32. The module says that nothing but an
input or an output of the model is one.
"""

from collections.abc import Iterator, Sequence

import tvm
from tvm import relax

from ....target.errors import UnsupportedError
from ....target.isa import instructions as isa
from ....target.isa.program import Function, Program
from ....target.isa.spec import Instruction
from ....target.vector_operations import FLOAT, OPERATIONS, REDUCTIONS, Operation
from ...link.calls import argument_of
from ...partition.graph import function_names, op_name
from ..records import read_records
from .ranges import bound_values, is_float

FLOATING = (isa.Drain, isa.Add, isa.Clamp, isa.Absmax, isa.Quant, isa.Fill)
"""Instructions that take or give fp32, whatever their operands are."""
MOST_SHOWN = 5


def is_floating(instruction: Instruction) -> bool:
    """Tell whether an instruction touches a floating-point number."""
    tables: dict[type, dict[str, Operation]] = {
        isa.Map: OPERATIONS,
        isa.Reduce: REDUCTIONS,
        isa.ReducePart: REDUCTIONS,
    }
    table = tables.get(type(instruction))
    if table is None:
        return isinstance(instruction, FLOATING)
    row = list(table.values())[instruction.operation - 1]
    return FLOAT in (*row.inputs, row.output)


def pieces(function: Function) -> Iterator[tuple[str, tuple[Instruction, ...]]]:
    """Yield name and instructions of each operator of a function."""
    starts = [part.first for part in function.parts] or [0]
    names = [part.name for part in function.parts] or [function.name]
    for name, start, end in zip(names, starts, [*starts[1:], len(function.code)], strict=True):
        yield name, function.code[start:end]


def floating(code: Sequence[Instruction]) -> list[str]:
    """Return the instructions that touch a floating-point number, as text."""
    return [str(each) for each in code if is_floating(each)]


def _sides(function: Function, code: Sequence[Instruction]) -> set[bool]:
    """Tell of the fp32 tensors that are transferred whether they are outputs."""
    moved = {argument_of(each) for each in code} - {None}
    every = [function.arguments[number] for number in moved]  # type: ignore[index]
    return {argument.is_output for argument in every if argument.dtype == FLOAT}


def problems(mod: tvm.IRModule, program: Program) -> list[str]:
    """Return what computes with floating-point numbers between inputs and outputs; empty: nothing.

    Parameters
    ----------
    mod : tvm.IRModule
        Calls the program.
    """
    found = []
    for function in program.functions.values():
        for name, code in pieces(function):
            sides = _sides(function, code)
            if not sides:
                found += [f"{name}: {text}" for text in floating(code)]
            elif len(sides) > 1 or any(isinstance(each, isa.Matmul) for each in code):
                found.append(f"{name}: fp32 tensors, and more than what scales them")
    for gv in function_names(mod):
        function = mod[gv]
        outputs: set[int] = set()
        relax.analysis.post_order_visit(
            function.body.body, lambda each, at=outputs: at.add(hash(each))
        )
        returned = _behind(function, outputs)
        for var, value in bound_values(function):
            if is_float(var) and hash(var) not in returned:
                name = op_name(value) if isinstance(value, relax.Call) else type(value).__name__
                found.append(f"{gv.name_hint}: a value of fp32 that is no output ({name})")
    return found


def proved(mod: tvm.IRModule, program: Program) -> None:
    """Raise UnsupportedError with what computes with floating-point numbers, if anything does."""
    host = [f"{row.operator} on the host ({row.reason})" for row in read_records(mod).host]
    if found := [*host, *problems(mod, program)]:
        more = f", and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        raise UnsupportedError(
            "a program in integers alone still computes with floating-point numbers, or on the "
            f"host: {'; '.join(found[:MOST_SHOWN])}{more}; `compile --stop-after vectorize "
            "--dump-dir DIR` shows the module"
        )


def _behind(function: relax.Function, outputs: set[int]) -> set[int]:
    """Return the outputs, and what these are only other names or shapes of."""
    known = set(outputs)
    for var, value in reversed(bound_values(function)):
        if hash(var) in known and isinstance(value, relax.Var):
            known.add(hash(value))
    return known
