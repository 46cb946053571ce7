"""Finds runs: calls of the program that need nothing of the host in between.

What the host does is moved out of the way where its data allow: before the run that could do
without it, or behind the last one that it needs.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from tvm import relax, tirx

from ...partition.graph import op_name

RESHAPES = ("reshape", "expand_dims", "squeeze", "flatten")
"""Operators whose result has the bytes of their operand, in order."""


@dataclass
class Run:
    """Bindings that become one call: calls of the program, and views of their results."""

    bindings: list = field(default_factory=list)


def called(binding, functions: Collection[str]) -> str:
    """Return the program's function that a binding calls, empty if it calls none."""
    value: Any = getattr(binding, "value", None)
    if op_name(value) != "call_dps_packed" or not isinstance(value.args[0], relax.ExternFunc):
        return ""
    name = str(value.args[0].global_symbol)
    return name if name in functions else ""


def viewed(binding, mod) -> relax.Var | None:
    """Return the variable whose bytes, or one of whose tensors, a binding only names anew."""
    value: Any = getattr(binding, "value", None)
    if isinstance(value, relax.Var):
        return value
    if isinstance(value, relax.TupleGetItem):
        return value.tuple_value if isinstance(value.tuple_value, relax.Var) else None
    source = None
    if op_name(value) in RESHAPES:
        source = value.args[0]
    elif op_name(value) == "call_tir":
        function = mod[value.args[0]]
        if isinstance(function, tirx.PrimFunc) and relax.analysis.has_reshape_pattern(function):
            source = value.args[1].fields[0]
    return source if isinstance(source, relax.Var) else None


def runs(bindings: list, calls: Callable, views: Callable) -> list:
    """Return the bindings of a dataflow block in an order of few runs, with `Run`s in their place.

    In turn all goes that the host can do, and all that the program can.

    Parameters
    ----------
    calls : callable
        Tells whether a binding calls the program.
    views : callable
        Tells whether a binding is a view.
    """
    needs = [set(relax.analysis.free_vars(binding.value)) for binding in bindings]
    inside = {binding.var for binding in bindings}
    waiting = list(range(len(bindings)))
    done: set = set()
    steps: list = []

    def ready(index: int) -> bool:
        return all(var in done or var not in inside for var in needs[index])

    while waiting:
        before = len(waiting)
        for index in list(waiting):
            if ready(index) and not calls(bindings[index]):
                steps.append(bindings[index])
                done.add(bindings[index].var)
                waiting.remove(index)
        made: set = set()
        run = Run()
        for index in list(waiting):
            binding = bindings[index]
            wanted = calls(binding) or (views(binding) and needs[index] & made)
            if ready(index) and wanted:
                run.bindings.append(binding)
                done.add(binding.var)
                made.add(binding.var)
                waiting.remove(index)
        if run.bindings:
            steps.append(run)
        assert len(waiting) < before, "a dataflow block whose bindings need each other"
    return steps
