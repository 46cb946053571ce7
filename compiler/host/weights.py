"""How many operations of a host's lane an operation of TIR is.

A lane adds, multiplies, or does both at once, compares, or chooses, once a cycle. Functions such
as exp are the sequences by which the machine computes them (`target.functions`): a host's library
takes about as many. Divisions and square roots are as slow as on Intel's Skylake, whose core
finishes 8 of them in 5 and in 6 cycles, and 16 multiply-accumulates in each (Fog, Instruction
tables).
"""

from tvm import ir, tirx

from ...target.functions import FUNCTIONS, Operations

DIVISION = 10
ROOT = 12

FREE = (tirx.Cast, tirx.Broadcast, tirx.Ramp, tirx.Shuffle)
"""Conversions are part of the load or the store beside them."""
DIVISIONS = (tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod)

FREE_CALLS = ("reinterpret", "likely", "large_uint_imm", "ret")
ONE = (
    *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "shift_left", "shift_right"),
    *("isnan", "isinf", "isfinite", "fma", "abs", "clz", "popcount", "if_then_else"),
)
OTHER_NAMES = {"round": "nearbyint", "fmod": "trunc"}
"""Calls that take as long as another function."""


OPERANDS = ("a", "b", "condition", "true_value", "false_value", "value", "base")
"""Where an expression that is no call has others."""


def _weight(operations: Operations) -> int:
    dear = (DIVISION - 1) * operations.divide + (ROOT - 1) * operations.root
    return operations.total + dear


FUNCTION = {name: _weight(function.operations) for name, function in FUNCTIONS.items()}
DEAREST = max(FUNCTION.values())
"""What a function takes that has no row: asin, a call of C, and the like."""


def operations_of(expr) -> int:
    """Return what an expression's own operation takes, without its operands."""
    if isinstance(expr, ir.Call):
        return _of_call(expr)
    if isinstance(expr, FREE):
        return 0
    return DIVISION if isinstance(expr, DIVISIONS) else 1


def operands_of(expr) -> list:
    """Return the expressions that an expression is made of."""
    if isinstance(expr, ir.Call):
        return list(expr.args)
    found = [getattr(expr, name) for name in OPERANDS if hasattr(expr, name)]
    # A number's value is none.
    return [each for each in found if isinstance(each, ir.Expr)]


def is_branch(expr) -> bool:
    """Tell whether only one of an expression's last two operands is computed."""
    return isinstance(expr, ir.Call) and _name(expr) == "if_then_else"


def _name(call: ir.Call) -> str:
    return call.op.name.rpartition(".")[2] if isinstance(call.op, ir.Op) else ""


def _of_call(call: ir.Call) -> int:
    name = _name(call)
    if name in FREE_CALLS:
        return 0
    if name in ONE:
        return 1
    return FUNCTION.get(OTHER_NAMES.get(name, name), DEAREST)
