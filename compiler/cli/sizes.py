"""Sizes of a program."""

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
