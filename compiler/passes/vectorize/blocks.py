"""The blocks of a PrimFunc as values: what each computes, over which axes, from which buffers."""

from dataclasses import dataclass

import numpy as np
from tvm import ir, s_tir, tirx
from tvm.error import InternalError
from tvm_ffi import structural_equal, structural_walk

from .expressions import called, loads_of
from .refusal import Refused

KEPT = "microscopiq.kept"
"""Annotation of blocks that stay: each reader reads them several times."""


@dataclass(frozen=True, eq=False)
class Block:
    """One block: ``buffer[indices] = value`` over its axes, put together along the reduced ones.

    Attributes
    ----------
    axes : dict of tirx.Var to int
        Extents, in the order of the loops; all start at 0.
    reduced : tuple of tirx.Var
    value : ir.Expr
        What is stored, or what joins what is there.
    reduction : str
        How it joins (a row of `REDUCTIONS`); empty without reduced axes.
    """

    buffer: tirx.Buffer
    indices: tuple[ir.Expr, ...]
    axes: dict[tirx.Var, int]
    reduced: tuple[tirx.Var, ...]
    value: ir.Expr
    reduction: str = ""


def inlined(func: tirx.PrimFunc) -> s_tir.Schedule:
    """Return a schedule in which what moves data, or is read once, stands where it is read.

    Raises
    ------
    Refused
        For a function that isn't made of blocks.
    """
    sch = s_tir.Schedule(func)
    try:
        root = sch.get_sblock("root")
    except s_tir.ScheduleError as error:
        raise Refused("it is a program, not loops around elements") from error
    # What only moves a result is done where that is stored: so what was summed stays whole.
    for name in [sch.get(block).name_hint for block in reversed(sch.get_child_blocks(root))]:
        try:
            block = sch.get_sblock(name)
        except s_tir.ScheduleError:  # several of that name
            continue
        producers = sch.get_producers(block)
        # With other readers the producer has to stay, and TVM doesn't notice.
        alone = len(producers) == 1 and len(sch.get_consumers(producers[0])) == 1
        if not alone or not _moves(sch, block):
            continue
        # What TVM can't invert, such as a slice with steps, may fail in the middle.
        trial = sch.copy()
        try:
            trial.reverse_compute_inline(trial.get_sblock(name))
        except (s_tir.ScheduleError, InternalError):
            continue
        if _all_run(trial):
            sch = trial
    while any([_inline(sch, block) for block in sch.get_child_blocks(sch.get_sblock("root"))]):
        pass
    return sch


def _inline(sch: s_tir.Schedule, block) -> bool:
    """Compute a block where it is read, if that is cheap; tell whether it was done."""
    if not sch.get_consumers(block) or not _is_cheap(sch, block):
        return False
    try:
        sch.compute_inline(block)
    except s_tir.ScheduleError:
        return False
    return True


def _is_cheap(sch: s_tir.Schedule, block) -> bool:
    """Tell whether computing a block again for each reader costs nothing, or is the only way."""
    stmt = sch.get(block)
    if KEPT in stmt.annotations:
        return False
    if any(int(var.iter_type) != tirx.IterVar.DataPar for var in stmt.iter_vars):
        return False
    readers = sch.get_consumers(block)
    if _moves(sch, block) or len(readers) == 1:
        return True
    buffer = stmt.writes[0].source
    return any(_reads_elsewhere(sch.get(reader), buffer) for reader in readers)


def _reads_elsewhere(stmt, buffer: tirx.Buffer) -> bool:
    """Tell whether a block reads some of a buffer's elements at places that aren't its own."""
    extents = {var.var: var.dom.extent for var in stmt.iter_vars}

    def is_own(index, size) -> bool:
        if isinstance(index, tirx.Var) and index in extents:
            return structural_equal(extents[index], size) or _is(extents[index], size)
        return _is(size, 1)

    loads = [load for load in loads_of(stmt.body) if load.source.same_as(buffer)]
    return not all(
        is_own(index, size)
        for load in loads
        for index, size in zip(load.indices, buffer.shape, strict=True)
    )


def _is(size, number) -> bool:
    """Tell whether two sizes are known, and equal."""
    known = isinstance(size, int | tirx.IntImm) and isinstance(number, int | tirx.IntImm)
    return known and int(size) == int(number)


def _moves(sch: s_tir.Schedule, block) -> bool:
    """Tell whether a block only puts elements elsewhere, or a constant beside them."""
    body = sch.get(block).body
    return isinstance(body, tirx.BufferStore) and _is_move(body.value)


def _is_move(value) -> bool:
    if called(value) == "if_then_else":
        return all(map(_is_move, value.args[1:])) and not loads_of(value.args[0])
    return isinstance(value, ir.TensorLoad | tirx.FloatImm | tirx.IntImm)


def _all_run(sch: s_tir.Schedule) -> bool:
    """Tell whether every block runs for every turn of its loops."""
    conditions: list = []
    structural_walk(
        sch.mod["main"].body,
        (s_tir.stmt.SBlockRealize, lambda realize: conditions.append(realize.predicate)),
    )
    return all(isinstance(each, tirx.IntImm) and int(each) for each in conditions)


def read_blocks(sch: s_tir.Schedule) -> list[Block]:
    """Return the blocks of a function in the order in which they run.

    Raises
    ------
    Refused
        For a block that is more than one store, or that not every iteration of its loops runs.
    """
    if not _all_run(sch):
        raise Refused("it leaves out some turns of its loops")
    root = sch.get_sblock("root")
    return [one for block in sch.get_child_blocks(root) for one in blocks_of(sch, block)]


def blocks_of(sch: s_tir.Schedule, which, unknown: int | None = None) -> list[Block]:
    """Return a block's stores as blocks: those that reduce several things at once have several.

    Parameters
    ----------
    unknown : int, optional
        What stands for an extent that only a call knows; without it there may be none.
    """
    stmt = sch.get(which)
    name = stmt.name_hint
    starts = {init.buffer: init.value for init in _stores(name, stmt.init)} if stmt.init else {}
    return [
        _block(name, stmt, store, starts.get(store.buffer), unknown)
        for store in _stores(name, stmt.body)
    ]


def _stores(name: str, body) -> list[tirx.BufferStore]:
    """Return the stores of a body, with what it names put in its place."""
    named: dict = {}
    found = []
    for each in body.seq if isinstance(body, tirx.SeqStmt) else [body]:
        if isinstance(each, tirx.Bind):
            named[each.var] = each.value
        elif isinstance(each, tirx.BufferStore):
            value = (
                named.get(each.value, each.value)
                if isinstance(each.value, tirx.Var)
                else each.value
            )
            found.append(tirx.BufferStore(each.buffer, value, each.indices))
        else:
            raise Refused(f"{name} is more than stores of elements")
    return found


def _block(name: str, stmt, store: tirx.BufferStore, start, unknown: int | None) -> Block:
    axes = {}
    for var in stmt.iter_vars:
        low, extent = var.dom.min, var.dom.extent
        known = int(extent) if isinstance(extent, tirx.IntImm) else unknown
        if not isinstance(low, tirx.IntImm) or int(low) or known is None:
            raise Refused(f"{name} has sizes that are known at run time only")
        axes[var.var] = known
    kinds = {int(var.iter_type) for var in stmt.iter_vars}
    if not kinds <= {tirx.IterVar.DataPar, tirx.IterVar.CommReduce}:
        raise Refused(f"{name} goes through its elements one after another")
    reduced = tuple(
        var.var for var in stmt.iter_vars if int(var.iter_type) == tirx.IterVar.CommReduce
    )
    value, reduction = store.value, ""
    if reduced:
        reduction, value = _joined(name, store, start)
    return Block(store.buffer, tuple(store.indices), axes, reduced, value, reduction)


JOINS = {
    tirx.Add: "sum",
    tirx.Max: "maximum",
    tirx.Or: "maximum",
    tirx.Min: "minimum",
    tirx.And: "minimum",
}


def start_of(reduction: str, dtype: str) -> float | int:
    """Return where a reduction of a type starts: what changes no other number."""
    if reduction == "sum":
        return 0
    if dtype == "bool":
        return int(reduction == "minimum")
    kind = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    edge = kind.min if reduction == "maximum" else kind.max
    return float(edge) if dtype.startswith("float") else int(edge)


def _joined(name: str, store, start) -> tuple[str, ir.Expr]:
    """Return how a reduction's elements join, and the element."""
    reduction = JOINS.get(type(store.value))
    if reduction is None or start is None:
        raise Refused(f"{name} reduces by something else than sum, maximum or minimum")
    constant = tirx.FloatImm | tirx.IntImm
    wanted = start_of(reduction, str(store.buffer.dtype))
    if not isinstance(start, constant) or start.value != wanted:
        raise Refused(f"{name} starts from {start}")
    here = store.value.a
    same = isinstance(here, ir.TensorLoad) and here.source.same_as(store.buffer)
    if not same or not all(
        structural_equal(a, b) for a, b in zip(here.indices, store.indices, strict=True)
    ):
        raise Refused(f"{name} reduces by something else than sum, maximum or minimum")
    return reduction, store.value.b
