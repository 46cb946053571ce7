"""Computes what depends on no input once, while compiling: masks, positions, tables of angles."""

import math

import tvm
from tvm import tirx
from tvm.relax.transform import FoldConstant

HOST = {"kind": "llvm"}
"""Where legalized functions are for."""
MOST = 1 << 20
"""Elements of a result that is kept: a program's constants are stored with it."""


def folded(mod: tvm.IRModule, kept: set[str]) -> tvm.IRModule:
    """Return the module with calls whose operands are all constant as constants.

    Parameters
    ----------
    kept : set of str
        Functions whose calls stay: such as those that unpack weights, for LLVM alone.
    """
    apart = {
        gv: function
        for gv, function in mod.functions.items()
        if isinstance(function, tirx.PrimFunc) and (gv.name_hint in kept or _large(function))
    }
    rest = {gv: function for gv, function in mod.functions.items() if gv not in apart}
    # Functions that the module doesn't have can't be computed.
    found = FoldConstant()(tvm.IRModule(rest, attrs=mod.attrs))
    for gv, function in apart.items():
        found[gv] = function
    return found


def _large(function: tirx.PrimFunc) -> bool:
    sizes = [
        int(size) if isinstance(size, tirx.IntImm) else MOST + 1
        for size in getattr(function.params[-1], "shape", ())
    ]
    return math.prod(sizes) > MOST
