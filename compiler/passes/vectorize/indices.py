"""Checks of indices as operators: the machine refuses what an assertion does elsewhere."""

import json
import math

import numpy as np
from tvm import s_tir, tirx

from ....target.arch import Arch
from ....target.errors import CapacityError, IsaError
from ...kinds.registry import emit_tile, kind_of
from ...names import CHECKED
from ...operators import CONSTANT, LOAD, MAP, Access, Part, Value, Vector
from ...sizes import number_of
from ...symbolic import largest
from .refusal import Refused
from .steps import Step
from .tables import Tables

DTYPES = ("int32", "int64")


def check_of(function: tirx.PrimFunc, name: str, arch: Arch) -> tuple[Step, str]:
    """Return the step that checks indices as a function's assertion does, and what they are of.

    Raises
    ------
    Refused
        When the machine can't.
    """
    told = json.loads(str(function.attrs[CHECKED]))
    source = function.params[0]
    known = [number_of(size) for size in source.shape]
    shape = tuple(size for size in known if size is not None)
    if len(shape) < len(known):
        raise Refused("indices whose number follows from sizes without bounds")
    if str(source.dtype) not in DTYPES or not math.prod(shape):
        raise Refused(f"indices of {source.dtype}{list(shape)}; allowed: {', '.join(DTYPES)}")
    operator, tables = _operator(shape, str(source.dtype), told["sizes"], told["negative"])
    try:
        tile = kind_of(operator).default_tile(largest(operator), arch)
        emit_tile(operator, tile, arch, name, "", b"")
    except (CapacityError, IsaError) as error:
        raise Refused(str(error)) from error
    return Step(s_tir.Schedule(function), operator, tables), told["of"]


def _operator(
    shape: tuple[int, ...], dtype: str, sizes: list[int], negative: bool
) -> tuple[Vector, Tables]:
    """Return the operator on rows of indices, each with a size along the last dimension."""
    columns = shape[-1] if shape else 1
    rows = math.prod(shape) // columns
    tall, wide = rows > 1, columns > 1
    row, column = (columns if tall else 0), int(wide)
    tables, shapes, dtypes = Tables(), [shape], [dtype]
    values = [Value(LOAD, access=Access(0, 0, (), row, column), tall=tall, wide=wide)]
    for bounds in (sizes, [-size if negative else 0 for size in sizes]):
        if len(set(bounds)) == 1:
            values.append(Value(CONSTANT, number=bounds[0]))
            continue
        numbers = np.array(bounds, np.int32)
        tables.made.append((tirx.decl_buffer(numbers.shape, "int32", "bounds"), numbers))
        shapes.append(numbers.shape)
        dtypes.append("int32")
        access = Access(len(shapes) - 1, 0, (), 0, 1)
        values.append(Value(LOAD, access=access, wide=True))
    values.append(Value(MAP, "index", (0, 1, 2), tall=tall, wide=wide))
    shapes.append(shape)
    dtypes.append(dtype)
    stores = ((3, Access(len(shapes) - 1, 0, (), row, column)),)
    part = Part((), rows, columns, columns, tuple(values), stores)
    return Vector(tuple(shapes), tuple(dtypes), 1, (part,)), tables
