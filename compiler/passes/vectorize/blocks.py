"""The blocks of a PrimFunc as values: what each computes, over which axes, from which buffers."""

from dataclasses import dataclass

from tvm import ir, s_tir, tirx
from tvm.error import InternalError
from tvm_ffi import structural_equal

from .refusal import Refused


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
    """Return a schedule in which what moves data, or is read once, stands where it is read."""
    sch = s_tir.Schedule(func)
    root = sch.get_sblock("root")
    # What only moves a result is done where that is stored: so what was summed stays whole.
    for name in [sch.get(block).name_hint for block in reversed(sch.get_child_blocks(root))]:
        block = sch.get_sblock(name)
        if not sch.get_producers(block) or not _moves(sch, block):
            continue
        # What TVM can't invert, such as a slice with steps, may fail in the middle.
        trial = sch.copy()
        try:
            trial.reverse_compute_inline(trial.get_sblock(name))
        except (s_tir.ScheduleError, InternalError):
            continue
        sch = trial
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        if not sch.get_consumers(block) or not _is_cheap(sch, block):
            continue
        try:
            sch.compute_inline(block)
        except s_tir.ScheduleError:
            continue
    return sch


def _is_cheap(sch: s_tir.Schedule, block) -> bool:
    """Tell whether computing a block again for each reader costs nothing, or it has one reader."""
    stmt = sch.get(block)
    if any(int(var.iter_type) != tirx.IterVar.DataPar for var in stmt.iter_vars):
        return False
    return _moves(sch, block) or len(sch.get_consumers(block)) == 1


def _moves(sch: s_tir.Schedule, block) -> bool:
    body = sch.get(block).body
    return isinstance(body, tirx.BufferStore) and isinstance(body.value, ir.TensorLoad)


def read_blocks(sch: s_tir.Schedule) -> list[Block]:
    """Return the blocks of a function in the order in which they run.

    Raises
    ------
    Refused
        For a block that is more than one store, or that not every iteration of its loops runs.
    """
    root = sch.get_sblock("root")
    return [one for block in sch.get_child_blocks(root) for one in _of_block(sch, block)]


def _of_block(sch: s_tir.Schedule, which) -> list[Block]:
    """Return a block's stores as blocks: those that reduce several things at once have several."""
    stmt = sch.get(which)
    name = stmt.name_hint
    starts = {init.buffer: init.value for init in _stores(name, stmt.init)} if stmt.init else {}
    return [
        _block(name, stmt, store, starts.get(store.buffer)) for store in _stores(name, stmt.body)
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


def _block(name: str, stmt, store: tirx.BufferStore, start) -> Block:
    axes = {}
    for var in stmt.iter_vars:
        low, extent = var.dom.min, var.dom.extent
        if not isinstance(low, tirx.IntImm) or int(low) or not isinstance(extent, tirx.IntImm):
            raise Refused(f"{name} has sizes that are known at run time only")
        axes[var.var] = int(extent)
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


JOINS = {tirx.Add: "sum", tirx.Max: "maximum", tirx.Min: "minimum"}
STARTS = {"sum": 0.0, "maximum": -3.4028234663852886e38, "minimum": 3.4028234663852886e38}


def _joined(name: str, store, start) -> tuple[str, ir.Expr]:
    """Return how a reduction's elements join, and the element."""
    reduction = JOINS.get(type(store.value))
    if reduction is None or start is None:
        raise Refused(f"{name} reduces by something else than sum, maximum or minimum")
    if not isinstance(start, tirx.FloatImm) or float(start) != STARTS[reduction]:
        raise Refused(f"{name} starts from {start}")
    here = store.value.a
    same = isinstance(here, ir.TensorLoad) and here.source.same_as(store.buffer)
    if not same or not all(
        structural_equal(a, b) for a, b in zip(here.indices, store.indices, strict=True)
    ):
        raise Refused(f"{name} reduces by something else than sum, maximum or minimum")
    return reduction, store.value.b
