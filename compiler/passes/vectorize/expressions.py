"""Looks into TIR expressions: their loads, their parts, the same with others in some places."""

from tvm import ir, tirx
from tvm_ffi import structural_map, structural_walk


def loads_of(expr: ir.Expr) -> list[ir.TensorLoad]:
    """Return the loads of an expression, once each."""
    found: list[ir.TensorLoad] = []
    structural_walk(expr, (ir.TensorLoad, found.append))
    return found


def replaced(expr: ir.Expr, names: dict) -> ir.Expr:
    """Return an expression with other expressions in place of some variables."""
    return structural_map(expr, (tirx.Var, lambda var: names.get(var, var)))


def called(node) -> str:
    """Return the name of the intrinsic that a call is of; empty for what is no call."""
    return getattr(node.op, "name", "").rpartition(".")[2] if isinstance(node, ir.Call) else ""


def children(node) -> list:
    """Return the expressions in an expression; those of a load's places aren't in it."""
    if isinstance(node, tirx.Select):
        return [node.condition, node.true_value, node.false_value]
    if isinstance(node, ir.Call):
        return list(node.args)
    if isinstance(node, tirx.Cast):
        return [node.value]
    if isinstance(node, ir.TensorLoad | tirx.Var):
        return []
    return [getattr(node, name) for name in ("a", "b") if hasattr(node, name)]


def variables_of(expr) -> set:
    """Return the variables of an expression without loads."""
    if isinstance(expr, tirx.Var):
        return {expr}
    return set().union(*(variables_of(child) for child in children(expr)))
