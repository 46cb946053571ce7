"""Sorting by ranks: an element's place is the number of those that go before it.

NaN goes before nothing, so that a row with one has no order; -0.0 comes out as 0.0.
"""

import math

from tvm import relax, te, tirx

from ...partition.graph import op_name
from .forms import MOST, form, shape_in


@form("argsort")
def argsort(builder: relax.BlockBuilder, call: relax.Call):
    """Put the numbers of a row's elements in their order; equal ones stay in theirs."""
    shape, descending = shape_in(call), bool(call.attrs.descending)
    return _first(builder, call, shape[int(call.attrs.axis)], descending, ("indices",))


@form("sort")
def sort(builder: relax.BlockBuilder, call: relax.Call):
    """Put a row's elements in their order."""
    shape, descending = shape_in(call), bool(call.attrs.descending)
    return _first(builder, call, shape[int(call.attrs.axis)], descending, ("values",))


@form("topk")
def topk(builder: relax.BlockBuilder, call: relax.Call):
    """Take the first elements of a row in their order, and their numbers."""
    kind, attrs = str(call.attrs.ret_type), call.attrs
    results = ("values", "indices") if kind == "both" else (kind,)
    size = shape_in(call.args[0])[int(attrs.axis)]
    count = min(int(attrs.k), size) if int(attrs.k) > 0 else size
    return _first(builder, call, count, bool(attrs.largest), results)


def _first(
    builder: relax.BlockBuilder, call: relax.Call, count: int, descending: bool, results: tuple
):
    """Return the first `count` elements along an axis, their numbers, or both."""
    x, shape = call.args[0], shape_in(call.args[0])
    axis = int(call.attrs.axis) % len(shape)
    if not 0 < math.prod(shape) * shape[axis] <= MOST:
        return None
    types = call.ty.fields if isinstance(call.ty, relax.TupleType) else [call.ty]
    kept = (*shape[:axis], count, *shape[axis + 1 :])

    def along(at, place):
        return (*at[:axis], place, *at[axis + 1 :])

    def ordered(x):
        k, *ones = (te.reduce_axis((0, shape[axis]), name) for name in ("k", *results))

        def rank(*at):
            here, there = x(*at), x(*along(at, k))
            ahead = there > here if descending else there < here
            goes_before = tirx.any(ahead, tirx.all(there.equal(here), k < at[axis]))
            return te.sum(tirx.Select(goes_before, _long(1), _long(0)), axis=k)

        ranks = te.compute(shape, rank, "ranks")

        def taken(name: str, dtype: str, one):
            """Return what stands at a rank: the only one that counts in a sum."""

            def value(*at):
                given = x(*along(at, one)) if name == "values" else one.astype(dtype)
                is_here = ranks(*along(at, one)).equal(at[axis].astype("int64"))
                return te.sum(tirx.Select(is_here, given, tirx.const(0, dtype)), axis=one)

            return te.compute(kept, value, name)

        dtypes = [str(each.dtype) for each in types]
        return [taken(*each) for each in zip(results, dtypes, ones, strict=True)]

    return builder.call_te(ordered, x, primfunc_name_hint=op_name(call))


def _long(number: int):
    return tirx.const(number, "int64")
