"""Shows that a program computes in integers between a model's inputs and outputs.

An instruction touches a floating-point number if it is one that takes or gives fp32: which those
are follows from what the instruction set says of operands and operations. Functions of the program
may have such instructions where a model's fp32 inputs become integers, and where integers become
its fp32 outputs; the module says that nothing but an input or an output of the model is fp32.
"""

import tvm
from tvm import relax

from ....target.errors import UnsupportedError
from ....target.isa import instructions as isa
from ....target.isa.program import Function, Program
from ....target.isa.spec import Instruction
from ....target.vector_operations import FLOAT, OPERATIONS, REDUCTIONS, Operation
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


def floating(function: Function) -> list[str]:
    """Return the instructions of a function that touch a floating-point number, as text."""
    return [str(each) for each in function.code if is_floating(each)]


def problems(mod: tvm.IRModule, program: Program) -> list[str]:
    """Return what computes with floating-point numbers between inputs and outputs; empty: nothing.

    Parameters
    ----------
    mod : tvm.IRModule
        Calls the program.
    """
    found = []
    for name, function in program.functions.items():
        sides = {each.is_output for each in function.arguments if each.dtype == FLOAT}
        if not sides:
            found += [f"{name}: {text}" for text in floating(function)]
        elif len(sides) > 1 or any(isinstance(each, isa.Matmul) for each in function.code):
            found.append(f"{name}: fp32 arguments, and more than what scales them")
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
