"""Code for LLVM: quickly for references and calibration, with fewer checks wherever it's right."""

import tvm

from .names import CHECKED


def fewer_checks(mod: tvm.IRModule) -> tvm.transform.PassContext:
    """Return a context that builds a module without TVM's checks of every function's arguments.

    Those come from the module itself, and a model's inputs are still checked; but half of the code
    of small functions are such checks, and most of the time to load them. Where indices decide what
    is read, all checks stay: TVM can't leave out one kind.
    """
    checks = any(CHECKED in (function.attrs or {}) for function in mod.functions.values())
    return tvm.transform.PassContext(config={"tirx.disable_assert": not checks})


def build_for_llvm(mod: tvm.IRModule, opt_level: int = 0):
    """Return a module built for LLVM as quickly as it can be, for nobody to keep.

    Without optimization the same bits come out of a build that takes a fifth of the time.

    Parameters
    ----------
    mod : tvm.IRModule
        Relax functions, or TIR alone.
    opt_level : int
        LLVM's, 0 to 3: more for a module that runs long.
    """
    with fewer_checks(mod):
        return tvm.compile(mod, target=tvm.target.Target({"kind": "llvm", "opt-level": opt_level}))
