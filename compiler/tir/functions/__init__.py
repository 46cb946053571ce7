"""The functions of `target.functions` as TIR, and a PrimFunc with its calls replaced by them.

What `tirx.exp(x)` gives is up to LLVM and its libraries. `with_functions` puts in its place the
sequence of operations that the machine runs, so that both give the same bits.
"""

from collections.abc import Callable

import tvm_ffi
from tvm import ir, s_tir, tirx

from ....target.functions import FUNCTIONS
from . import exact, exponential, logarithm, trigonometric
from .steps import Steps

_RENAMED: dict[str, Callable] = {
    "min": exact.minimum,
    "max": exact.maximum,
    "int32_to_float32": exact.cast("float32"),
    "int8_to_float32": exact.cast("float32"),
    "bool_to_float32": exact.cast("float32"),
    "int32_to_int8": exact.cast("int8"),
}
"""Those that aren't called in their module as in the table."""
CALLS = {
    **{f"{home}.{name}": name for name in FUNCTIONS for home in ("tirx", "prim")},
    # Halves to even, as ONNX and torch have it.
    "tirx.round": "nearbyint",
}
"""Names of TVM's operators, and of the functions that replace them."""
_CASTS = {("float32", output): f"float32_to_{output}" for output in ("int32", "int8")}
_SILENT = ("reinterpret", "if_then_else", "likely")
"""Calls that are no function of numbers."""


def steps_of(name: str) -> Steps:
    """Return the steps of a function of the table; the last one is its result."""
    steps = Steps()
    inputs = (tirx.Var(f"x{i}", dtype) for i, dtype in enumerate(FUNCTIONS[name].inputs))
    steps(_writer(name)(steps, *inputs))
    return steps


def with_functions(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return a PrimFunc whose fp32 calls of `CALLS` and casts of fp32 are steps before their store.

    It takes what TVM's legalization gives, blocks and all, before or after schedules. What a call
    is given inside of an ``if_then_else`` is only read where the condition holds.
    """
    return tvm_ffi.structural_map(func, [(s_tir.SBlock, _block)])


def _block(block: s_tir.SBlock) -> s_tir.SBlock:
    steps = Steps()
    made = {part: _statement(getattr(block, part), steps) for part in ("init", "body")}
    if not steps.stores:
        return block
    return s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        made["body"],
        made["init"],
        [*block.alloc_buffers, *steps.buffers],
        block.match_buffers,
        block.annotations,
    )


def _statement(statement, steps: Steps):
    """Return a statement without blocks in it, each store behind the steps that it wants."""

    def store(node, mutator):
        first = len(steps.stores)
        value = mutator.mutate(node.value)
        if len(steps.stores) == first:
            return node
        last = tirx.BufferStore(node.buffer, value, node.indices)
        return tirx.SeqStmt([*steps.stores[first:], last])

    guards: list = []

    def call(node, mutator):
        if isinstance(node.op, ir.Op) and node.op.name.endswith(".if_then_else"):
            condition = mutator.mutate(node.args[0])
            branches = []
            for guard, branch in ((condition, node.args[1]), (tirx.Not(condition), node.args[2])):
                guards.append(guard)
                branches.append(mutator.mutate(branch))
                guards.pop()
            return tirx.if_then_else(condition, *branches)
        name = CALLS.get(node.op.name) if isinstance(node.op, ir.Op) else None
        if name is None or node.ty.dtype != "float32":
            return mutator.default_mutate(node)
        return written(name, [mutator.mutate(value) for value in node.args])

    def cast(node, mutator):
        name = _CASTS.get((node.value.ty.dtype, node.ty.dtype))
        if name is None:
            return mutator.default_mutate(node)
        return written(name, [mutator.mutate(node.value)])

    def written(name, values):
        if guards:
            condition = tirx.all(*guards) if len(guards) > 1 else guards[0]
            values = [
                tirx.if_then_else(condition, value, tirx.const(0, value.ty.dtype))
                for value in values
            ]
        return steps(_writer(name)(steps, *map(steps, values)))

    if statement is None:
        return None
    return tvm_ffi.structural_mutate(
        statement,
        [
            (s_tir.SBlockRealize, lambda node, mutator: node),
            (tirx.BufferStore, store),
            (ir.Call, call),
            (tirx.Cast, cast),
        ],
    )


def other_calls(func: tirx.PrimFunc) -> list[str]:
    """Return the names of the operators in a PrimFunc that no function of the table replaces."""
    found: set[str] = set()

    def note(call):
        name = call.op.name if isinstance(call.op, ir.Op) else None
        if name is not None and name not in CALLS and name.split(".")[-1] not in _SILENT:
            found.add(name)

    tvm_ffi.structural_walk(func, [(ir.Call, note)])
    return sorted(found)


def _writer(name: str) -> Callable:
    if name in _RENAMED:
        return _RENAMED[name]
    modules = (exact, exponential, logarithm, trigonometric)
    assert name in FUNCTIONS, name
    return next(getattr(module, name) for module in modules if hasattr(module, name))
