"""What one call of a PrimFunc costs the host, counted in its loops.

Arithmetic on loaded values counts as often as its loops run; that on loop variables alone makes
addresses, and doesn't. Of an argument as many bytes count as are loaded or stored, at most all.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tvm import ir, s_tir, sym, tirx
from tvm.tirx.buffer import is_buffer_var

from ...runtime.host_costs import Cost
from .weights import is_branch, operands_of, operations_of

MOST_ITERATIONS = (1 << 31) - 2
"""A loop that may run longer has no bound but that of its type."""
SORTS = ("sort", "topk")
"""In the names of packed functions that go through their arguments several times."""


class Uncounted(Exception):
    """How often something runs isn't known, or what it does."""


@dataclass
class _Tally:
    """What has been counted so far.

    Attributes
    ----------
    accesses : Counter
        Elements loaded and stored, by buffer.
    named : dict
        By variable, the buffers that its value comes from.
    """

    operations: int = 0
    macs: int = 0
    accesses: Counter = field(default_factory=Counter)
    named: dict = field(default_factory=dict)
    analyzer: sym.Analyzer = field(default_factory=sym.Analyzer)


def cost_of(function: tirx.PrimFunc) -> Cost | None:
    """Return what a call costs; None where sizes of arguments are known at run time alone."""
    buffers = [param for param in function.params if is_buffer_var(param)]
    if not all(isinstance(size, tirx.IntImm) for buffer in buffers for size in buffer.shape):
        return None
    elements = [math.prod(int(size) for size in buffer.shape) for buffer in buffers]
    whole = sum(n * buffer.dtype.itemsize for n, buffer in zip(elements, buffers, strict=True))
    tally = _Tally()
    try:
        _count(function.body, 1, tally)
    except Uncounted as reason:
        sorts = any(word in str(reason) for word in SORTS)
        passes = math.ceil(math.log2(max([2, *elements]))) if sorts else 1
        return Cost(None, 0, whole * passes)
    moved = sum(
        min(tally.accesses[buffer], n) * buffer.dtype.itemsize
        for n, buffer in zip(elements, buffers, strict=True)
    )
    return Cost(tally.operations, tally.macs, moved)


def _count(stmt, times: int, tally: _Tally) -> None:
    """Count a statement that runs so many times."""
    if isinstance(stmt, tirx.SeqStmt):
        for each in stmt.seq:
            _count(each, times, tally)
    elif isinstance(stmt, tirx.For):
        _count(stmt.body, times * _iterations(stmt, tally), tally)
    elif isinstance(stmt, s_tir.SBlockRealize):
        _count(stmt.block, times, tally)
    elif isinstance(stmt, s_tir.SBlock):
        if stmt.match_buffers:
            raise Uncounted("parts of buffers under names of their own")
        _count(stmt.body, times, tally)
    elif isinstance(stmt, tirx.BufferStore):
        _count_store(stmt, times, tally)
    elif isinstance(stmt, tirx.Bind):
        tally.named[stmt.var] = _sources(stmt.value, times, tally)
    elif isinstance(stmt, tirx.IfThenElse):
        _sources(stmt.condition, times, tally)
        cases = [case for case in (stmt.then_case, stmt.else_case) if case is not None]
        _dearest([partial(_count, case, times, tally) for case in cases], tally)
    elif isinstance(stmt, tirx.AttrStmt):
        _count(stmt.body, times, tally)
    elif isinstance(stmt, tirx.AssertStmt):
        _sources(stmt.condition, times, tally)
    elif not isinstance(stmt, tirx.AllocBuffer):
        # Among them calls of packed functions.
        raise Uncounted(str(stmt))


def _iterations(loop: tirx.For, tally: _Tally) -> int:
    """Return how often a loop runs, at most where that depends on loops around it."""
    tally.analyzer.bind(loop.loop_var, ir.Range.from_min_extent(loop.min, loop.extent))
    most = int(tally.analyzer.const_int_bound(loop.extent).max_value)
    if most > MOST_ITERATIONS:
        raise Uncounted("a loop whose end is known at run time")
    return max(most, 0)


def _count_store(store: tirx.BufferStore, times: int, tally: _Tally) -> None:
    tally.accesses[store.buffer] += times
    _count_indices(store.indices, times, tally)
    value = store.value
    if not isinstance(value, tirx.Add) or not isinstance(value.b, tirx.Mul):
        _sources(value, times, tally)
        return
    # A lane multiplies and adds at once.
    summed, left, right = (_sources(part, times, tally) for part in (value.a, value.b.a, value.b.b))
    if summed or left or right:
        tally.operations += times
    here = isinstance(value.a, ir.TensorLoad) and value.a.source.same_as(store.buffer)
    # What is squared is no product of two.
    if here and left and right and left != right:
        tally.macs += times


def _count_indices(indices, times: int, tally: _Tally) -> None:
    """Count what is loaded to know an address, and not the arithmetic of addresses."""
    operations = tally.operations
    for index in indices:
        _sources(index, times, tally)
    tally.operations = operations


def _sources(expr, times: int, tally: _Tally) -> frozenset:
    """Count an expression; return the buffers whose elements its value comes from."""
    if isinstance(expr, ir.TensorLoad):
        tally.accesses[expr.source] += times
        _count_indices(expr.indices, times, tally)
        return frozenset([expr.source])
    if isinstance(expr, tirx.Var):
        return tally.named.get(expr, frozenset())
    if isinstance(expr, tirx.Let):
        tally.named[expr.var] = _sources(expr.value, times, tally)
        return _sources(expr.body, times, tally)
    operands = operands_of(expr)
    if is_branch(expr):
        found = _sources(operands[0], times, tally) | _dearest(
            [partial(_sources, each, times, tally) for each in operands[1:]], tally
        )
    else:
        found = frozenset().union(*[_sources(each, times, tally) for each in operands])
    if found:
        tally.operations += times * operations_of(expr)
    return found


def _dearest(branches: list[Callable[[], frozenset | None]], tally: _Tally) -> frozenset:
    """Count of several branches the one with the most operations; any may touch memory."""
    before = tally.operations, tally.macs
    found: frozenset = frozenset()
    most = before
    for branch in branches:
        tally.operations, tally.macs = before
        found |= branch() or frozenset()
        most = max(most, (tally.operations, tally.macs))
    tally.operations, tally.macs = most
    return found
