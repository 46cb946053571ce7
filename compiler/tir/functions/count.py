"""How many operations of each class a function takes, counted in its TIR."""

from collections import Counter
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from ....target.functions import Operations
from . import steps_of

_ARITHMETIC = {tirx.Add: "add", tirx.Sub: "add", tirx.Mul: "multiply", tirx.Div: "divide"}
_INTEGER = (
    tirx.BitwiseAnd, tirx.BitwiseOr, tirx.BitwiseXor, tirx.LShift, tirx.RShift, tirx.And, tirx.Or,
)  # fmt: skip
_SELECT = (tirx.Select, tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)
_CALLS = {"sqrt": "root", "floor": "convert", "ceil": "convert", "trunc": "convert"}
_CALLS |= {"nearbyint": "convert", "reinterpret": ""}


def count_operations(name: str) -> Operations:
    """Return the operations of a function of the table."""
    counts: Counter[str] = Counter()
    for store in steps_of(name).stores:
        tvm_ffi.structural_walk(store.value, [(ir.Expr, lambda node: _count(node, counts))])
    del counts[""]
    return Operations(**counts)


def _count(node: Any, counts: Counter) -> None:
    if type(node) in _ARITHMETIC:
        floating = node.ty.dtype.startswith("float")
        product = "product" if isinstance(node, tirx.Mul) else "integer"
        counts[_ARITHMETIC[type(node)] if floating else product] += 1
    elif isinstance(node, _INTEGER):
        counts["integer"] += 1
    elif isinstance(node, _SELECT):
        counts["select"] += 1
    elif isinstance(node, tirx.Cast):
        counts["convert"] += 1
    elif isinstance(node, ir.Call):
        counts[_CALLS[node.op.name.split(".")[1]]] += 1
