"""What is left to the host: multiply-accumulates, and a model of the time that it takes.

The host of the model is one core: 64 G multiply-accumulates a second (32 a cycle at 2 GHz), 16 GB/s
from and to memory. An operator takes the longer of the two; a view of its input takes nothing.
"""

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ...partition.graph import function_names, op_name, static_shape

MACS_PER_SECOND = 64e9
BYTES_PER_SECOND = 16e9
VIEWS = ("reshape", "expand_dims", "squeeze", "flatten", "shape_of", "memory.view")
TRANSPOSED = ("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")


@dataclass(frozen=True)
class HostWork:
    """Of one call of a function: products' multiply-accumulates, and modeled seconds."""

    macs: int
    seconds: float


def host_work(mod: tvm.IRModule, function: str, program: set[str]) -> HostWork:
    """Return what a lowered module leaves to the host in a function.

    Parameters
    ----------
    program : set of str
        Names of the machine's functions, which the module calls.
    """
    macs, seconds = 0, 0.0
    gv = next(gv for gv in function_names(mod) if gv.name_hint == function)

    def visit(expr) -> None:
        nonlocal macs, seconds
        name = op_name(expr)
        if not name or name in VIEWS or _on_machine(expr, program):
            return
        work = macs_of(expr)
        macs += work
        moved = sum(map(_bytes, _tensors(expr)))
        seconds += max(work / MACS_PER_SECOND, moved / BYTES_PER_SECOND)

    relax.analysis.post_order_visit(mod[gv], visit)
    return HostWork(macs, seconds)


def macs_of(call) -> int:
    """Return the multiply-accumulates of a product, 0 of anything else."""
    name, out = op_name(call), static_shape(call)
    if out is None:
        return 0
    if name == "matmul":
        return int(np.prod(out)) * (static_shape(call.args[0]) or (1,))[-1]
    if name == "nn.attention":
        rows, keys = static_shape(call.args[0]), static_shape(call.args[1])
        return 2 * int(np.prod(rows)) * keys[1] if rows and keys else 0
    if name in TRANSPOSED:
        given, kernel = (static_shape(arg) for arg in call.args)
        return int(np.prod(given)) * int(np.prod(kernel[1:])) if given and kernel else 0
    if name.startswith("nn.conv"):
        kernel = static_shape(call.args[1])
        return int(np.prod(out)) * int(np.prod(kernel[1:])) if kernel else 0
    return 0


def _on_machine(call, program: set[str]) -> bool:
    return op_name(call) == "call_dps_packed" and call.args[0].global_symbol in program


def _tensors(call) -> list:
    found, given = [], list(call.args)
    while given:
        one = given.pop()
        kind = getattr(one, "ty", None)
        if isinstance(kind, relax.TensorType):
            found.append(kind)
        elif isinstance(one, relax.Tuple):
            given += list(one.fields)
    result = call.ty
    return found + (list(result.fields) if isinstance(result, relax.TupleType) else [result])


def _bytes(kind) -> int:
    shape = getattr(kind, "shape", None)
    if not isinstance(shape, relax.ShapeExpr):
        return 0
    sizes = [getattr(dim, "value", 1) for dim in shape.values]
    return int(np.prod(sizes, dtype=np.int64)) * np.dtype(_known(str(kind.dtype))).itemsize


def _known(dtype: str) -> str:
    return {"bfloat16": "float16"}.get(dtype, "int8" if dtype.startswith("float8") else dtype)
