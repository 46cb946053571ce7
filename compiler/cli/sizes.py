"""Sizes of a program: of what it is made, and those that a call decides."""

from ...target.isa.program import Function, Program


def program_sizes(program: Program) -> dict[str, int]:
    functions = program.functions.values()
    return {
        "functions": len(functions),
        "instruction_bytes": sum(map(code_bytes, functions)),
        "weight_bytes": sum(len(function.weights) for function in functions),
    }


def code_bytes(function: Function) -> int:
    return sum(len(instruction.encode()) for instruction in function.code)


def bounds_of(mod) -> dict[str, tuple[int, int]]:
    """Return the least and the largest of each size that a call of a module decides."""
    from ..sizes import bounded  # it loads TVM, which no help needs

    return {name: (symbol.least, symbol.most) for name, symbol in bounded(mod, {}).items()}
