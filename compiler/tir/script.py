"""Functions in TVMScript, read without a look at the callers.

`T.prim_func` gathers the source lines of every frame above it, twice for each function, to find
types that are defined there. That is a tenth of a second each time, and ours name none.
"""

from collections.abc import Callable

from tvm import tirx
from tvm.script import parse


def prim_func(s_tir: bool) -> Callable[[Callable], tirx.PrimFunc]:
    """Return a decorator that makes a PrimFunc of a function.

    The parser finds `s_tir` in the source, and wants an attribute of this name there:
    ``@script.prim_func(s_tir=True)``.
    """

    def read(function: Callable) -> tirx.PrimFunc:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        around = dict(zip(function.__code__.co_freevars, cells, strict=True))
        return parse(function, {**function.__globals__, **around}, s_tir=s_tir)

    read.dispatch_token = "tirx"  # type: ignore[attr-defined]
    return read
