"""Splits a function between its loops: what the first part finds goes through DRAM to the second.

Rows may be too long to wait for a reduction on the chip, and then are read again; or the loops as
a whole may be more than one operator does.
"""

from tvm import ir, s_tir, tirx
from tvm_ffi import structural_walk


def split_behind_reduction(func: tirx.PrimFunc) -> tuple[tirx.PrimFunc, tirx.PrimFunc] | None:
    """Return a function's part up to its first reduction, and the rest; None without a rest."""
    nests = _nests(func)
    at = next((n for n, nest in enumerate(nests) if _reduces(nest)), len(nests)) + 1
    # What the next loops make of the sums alone is as short as they are.
    return split_at(func, at) if at < len(nests) else None


def split_at(func: tirx.PrimFunc, at: int) -> tuple[tirx.PrimFunc, tirx.PrimFunc]:
    """Return a function's first `at` nests of loops, and those behind them."""
    nests = _nests(func)
    return _step(func, nests[:at], nests[at:]), _step(func, nests[at:], [])


def nests_in(func: tirx.PrimFunc) -> int:
    """Return the number of nests of loops, one behind the other; 1 of a program.

    What is called with a buffer, such as a sort, reads and writes it without a load or a store.
    """
    if not isinstance(func.body, s_tir.stmt.SBlockRealize):
        return 1
    calls: list = []
    structural_walk(func.body, (tirx.Evaluate, calls.append))
    return 1 if calls else len(_nests(func))


def stored_in(func: tirx.PrimFunc) -> set[tirx.Buffer]:
    """Return the buffers that a function writes."""
    return _stored([func.body])


def _nests(func: tirx.PrimFunc) -> list:
    body = func.body.block.body
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _step(func: tirx.PrimFunc, nests: list, later: list) -> tirx.PrimFunc:
    params, own = list(func.params), list(func.body.block.alloc_buffers)
    loaded, stored = _loaded(nests), _stored(nests)
    needed = _loaded(later)
    results = {buffer for buffer in params if buffer in stored}
    between = [buffer for buffer in own if buffer in stored and buffer in needed]
    before = [buffer for buffer in own if buffer in loaded and buffer not in stored]
    reads = [each for each in params if each in loaded and each not in stored] + before
    writes = between + [buffer for buffer in params if buffer in results]
    inner = [each for each in own if each in stored and each not in between]
    body = nests[0] if len(nests) == 1 else tirx.SeqStmt(nests)
    block = s_tir.stmt.SBlock([], [], [], "root", body, alloc_buffers=inner)
    realize = s_tir.stmt.SBlockRealize([], tirx.const(1, "bool"), block)
    return tirx.PrimFunc([*reads, *writes], realize, func.ret_type, func.attrs)


def _reduces(nest) -> bool:
    found: list = []
    structural_walk(nest, (s_tir.stmt.SBlock, lambda block: found.append(block.init is not None)))
    return any(found)


def _loaded(nests: list) -> set:
    return {load.source for nest in nests for load in _loads(nest)}


def _loads(nest) -> list:
    found: list = []
    structural_walk(nest, (ir.TensorLoad, found.append))
    return found


def _stored(nests: list) -> set:
    found: list = []
    for nest in nests:
        structural_walk(nest, (tirx.BufferStore, found.append))
    return {store.buffer for store in found}
