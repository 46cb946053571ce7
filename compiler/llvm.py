"""Modules for LLVM in this process: references, calibration; nobody keeps the code."""

import tvm

from .names import CHECKED


def build_for_llvm(mod: tvm.IRModule, opt_level: int = 0):
    """Return a module built for LLVM as quickly as it can be.

    Without optimization the same bits come out of a build that takes a fifth of the time; without
    TVM's checks of every function's arguments, which come from the module itself, it loads in a
    third.

    Parameters
    ----------
    mod : tvm.IRModule
        Relax functions, or TIR alone.
    opt_level : int
        LLVM's, 0 to 3: more for a module that runs long.
    """
    # Indices that a caller gives are the one thing that the module itself doesn't make right.
    checks = any(CHECKED in (function.attrs or {}) for function in mod.functions.values())
    with tvm.transform.PassContext(config={"tirx.disable_assert": not checks}):
        return tvm.compile(mod, target=tvm.target.Target({"kind": "llvm", "opt-level": opt_level}))
