"""The same function in the order in which the vector unit computes: LLVM runs it as the reference.

It is made from TVM's own blocks, not from the operator that is read out of them, so that the two
judge each other.
"""

from tvm import s_tir, tirx

from ....target.vector_operations import PARTIALS
from ...tir.functions import with_functions
from .blocks import blocks_of
from .windows import is_window

UNKNOWN = 1 << 30
"""In the place of an extent that only a call knows: more than any window has."""


def in_order(sch: s_tir.Schedule) -> tirx.PrimFunc:
    """Return the function with every long reduction as partial results that are put together.

    Up to `PARTIALS` elements one after the other are the same. A window's elements join one after
    the other, however many there are.
    """
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        kinds = [int(var.iter_type) for var in sch.get(block).iter_vars]
        if tirx.IterVar.CommReduce not in kinds or all(
            map(is_window, blocks_of(sch, block, UNKNOWN))
        ):
            continue
        loops = sch.get_loops(block)
        reduced = [
            loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.CommReduce
        ]
        whole = sch.fuse(*reduced) if len(reduced) > 1 else reduced[0]
        extent = sch.get(whole).extent
        if not isinstance(extent, tirx.IntImm) or int(extent) > PARTIALS:
            _, lane = sch.split(whole, [None, PARTIALS])
            sch.rfactor(lane, len(loops) - len(reduced))
    return with_functions(sch.mod["main"])
