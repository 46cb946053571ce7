"""What becomes of a fused function: operators of the vector unit, and what stays on the host."""

from dataclasses import dataclass

from tvm import relax, s_tir, tirx

from ....target.arch import Arch
from ....target.errors import CapacityError, IsaError, UnsupportedError
from ...kinds.registry import emit_tile, kind_of
from ...operators import Vector
from ...symbolic import largest
from .blocks import inlined
from .read import read_vector
from .refusal import Refused
from .sized import read_sized, sizes_in
from .split import nests_in, split_at, split_behind_reduction, stored_in
from .tables import Tables
from .words import LONG


@dataclass(frozen=True, eq=False)
class Step:
    """One of the functions that are called for a function, one after the other.

    Attributes
    ----------
    operator : Vector or None
        Which the machine runs; None of a view, and of what stays on the host.
    tables : Tables
        What the operator takes behind the function's operands.
    reason : str
        Why it stays on the host, empty if it doesn't.
    """

    sch: s_tir.Schedule
    operator: Vector | None = None
    tables: Tables | None = None
    reason: str = ""


def steps_of(function: tirx.PrimFunc, name: str, arch: Arch) -> list[Step]:
    """Return what a function becomes, one step wherever that is possible.

    Where rows are too long for the chip, or the loops as a whole are more than an operator, it's
    several; loops that can't run on the machine at all stay on the host without the others.

    Raises
    ------
    Refused
        If nothing of it can run on the machine.
    """
    try:
        return _readable(function, name, arch)
    except (Refused, CapacityError, IsaError) as refusal:
        if sizes_in(function):  # a part of it needn't have the tensors that tell its sizes
            raise Refused(str(refusal)) from None
        steps = _apart(function, name, arch, str(refusal))
    # What the host computes in 64 bits, such as a branch that isn't chosen, may not fit the unit's.
    wide = any(step.reason and _writes_long(step) for step in steps)
    if wide or all(step.operator is None for step in steps):
        raise Refused(next(step.reason for step in steps if step.reason))
    return steps


def _writes_long(step: Step) -> bool:
    return any(str(buffer.dtype) == LONG for buffer in stored_in(step.sch.mod["main"]))


def _readable(function: tirx.PrimFunc, name: str, arch: Arch) -> list[Step]:
    """Return the step of a function, or those around a reduction of rows that are too long."""
    sch = inlined(function)
    if relax.analysis.has_reshape_pattern(sch.mod["main"].with_attr("global_symbol", name)):
        return [Step(sch)]
    variables = sizes_in(function)
    if variables:
        operator, tables = read_sized(function, variables), Tables()
    else:
        operator, tables = read_vector(sch)
    try:
        tile = kind_of(operator).default_tile(largest(operator), arch)
    except CapacityError:
        parts = None if variables else split_behind_reduction(sch.mod["main"])
        if parts is None:
            raise
        return [step for part in parts for step in _readable(part, name, arch)]
    try:
        # Whether registers and semaphores are enough, only emission knows.
        emit_tile(operator, tile, arch, name, "", b"")
    except UnsupportedError as error:  # of sizes that a call decides
        raise Refused(str(error)) from error
    return [Step(sch, operator, tables)]


def _apart(function: tirx.PrimFunc, name: str, arch: Arch, reason: str) -> list[Step]:
    """Return the steps of a function that isn't one, each with as many nests of loops as can be."""
    count = nests_in(function)
    if count == 1:
        return [Step(s_tir.Schedule(function), reason=reason)]
    for at in range(count - 1, 0, -1):
        first, rest = split_at(function, at)
        try:
            steps = _readable(first, name, arch)
        except (Refused, CapacityError, IsaError) as refusal:
            if at > 1:
                continue
            steps = [Step(s_tir.Schedule(first), reason=str(refusal))]
        try:
            return steps + _readable(rest, name, arch)
        except (Refused, CapacityError, IsaError) as refusal:
            return steps + _apart(rest, name, arch, str(refusal))
    raise AssertionError("at least one nest of loops is a step")
