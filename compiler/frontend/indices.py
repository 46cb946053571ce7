"""Indices into tensors: none may be negative or too large when TVM's operators read with them.

TVM's gathers and scatters trust their indices, and read and write outside of a tensor for -1. So
constants are settled while a model is imported, and what a run computes goes through a check.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.s_tir import SBlock, SBlockRealize

from ...target.errors import InputError
from ..names import CHECK, CHECKED, digest, read_names
from ..partition.graph import op_name, static_shape


def _of_axis(call) -> list[int] | None:
    axis, shape = call.attrs.axis, static_shape(call.args[0])
    return None if shape is None else [shape[0 if axis is None else int(axis)]]


def _of_trailing(call) -> list[int] | None:
    """Return the sizes that the numbers along the last dimension of the indices count in."""
    shape, indices = static_shape(call.args[0]), static_shape(call.args[1])
    first = int(getattr(call.attrs, "batch_dims", 0))
    if shape is None or indices is None:
        return None
    return list(shape[first : first + indices[-1]])


SIZES: dict[str, Callable] = {
    "take": _of_axis,
    "gather_elements": _of_axis,
    "scatter_elements": _of_axis,
    "gather_nd": _of_trailing,
    "scatter_nd": _of_trailing,
}
"""What an operator's second argument counts in: one size, or one for each of its last dimension."""
SEVERAL = ("index_tensor", "index_put")
"""Operators with a tuple of indices, one for each dimension of the data."""


def check_indices(mod: tvm.IRModule) -> tvm.IRModule:
    """Return a module whose gathers and scatters get indices from 0 to the size less one.

    Raises
    ------
    InputError
        For a constant index outside of its tensor.
    """
    mutate = _Check(mod)
    for gv, function in list(mod.functions.items()):
        if isinstance(function, relax.Function):
            mutate.names |= {param: f"input '{param.name}'" for param in function.params}
            mutate.builder_.update_func(gv, mutate.visit_expr(function))
    found = mutate.builder_.get()
    return found.with_attrs(mod.attrs) if mod.attrs else found


@mutator
class _Check(PyExprMutator):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.parameters = read_names(mod)
        self.names: dict = {}

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        name = op_name(call)
        if name in SIZES and str(getattr(call.attrs, "mode", "fast")) == "fast":
            sizes = SIZES[name](call)
            if sizes:
                return self.changed(call, self.right(call, call.args[1], sizes))
        if name in SEVERAL and (shape := static_shape(call.args[0])):
            given = self.fields(call.args[1])
            pairs = zip(given, shape, strict=False)
            return self.changed(
                call, relax.Tuple([self.right(call, each, [size]) for each, size in pairs])
            )
        return call

    def changed(self, call, indices):
        if indices.same_as(call.args[1]):
            return call
        args = [call.args[0], indices, *call.args[2:]]
        return self.builder_.normalize(relax.Call(call.op, args, call.attrs, call.ty_args))

    def fields(self, indices) -> list:
        value = self.lookup_binding(indices) if isinstance(indices, relax.Var) else indices
        if isinstance(value, relax.Tuple):
            return list(value.fields)
        count = len(indices.ty.fields)
        return [self.builder_.emit(relax.TupleGetItem(indices, at)) for at in range(count)]

    def right(self, call, indices, sizes: list[int]):
        """Return indices in the range of their sizes; what can't be is an error, now or then."""
        where = f"an index into {self.name(call.args[0])} ({op_name(call)})"
        value = self.value(indices)
        if isinstance(value, tvm.ir.GenericConst):
            array = value.value.numpy()
            counts = np.array(sizes if len(sizes) > 1 else sizes[0])
            wrong = (array < -counts) | (array >= counts)
            if wrong.any():
                first = array[wrong].reshape(-1)[0]
                raise InputError(f"the model has {where} that is {first}; {_allowed(sizes)}")
            if not (array < 0).any():
                return indices
            return relax.const(np.where(array < 0, array + counts, array), str(array.dtype))
        if not self.unsure(value) or str(indices.ty.dtype) == "bool":
            return indices
        source = self.source(indices)
        where = f"{where}, from {source}," if source else where
        return checked(self.builder_, indices, sizes, where)

    def unsure(self, value) -> bool:
        """Tell whether an expression can be outside; what a check gave isn't."""
        if op_name(value) == "call_tir":
            attrs = self.builder_.get()[value.args[0]].attrs or {}
            return CHECKED not in attrs
        return op_name(value) not in ("arange", "argmax", "argmin", "argsort")

    def value(self, expr):
        """Return what a variable is bound to."""
        while isinstance(expr, relax.Var):
            found = self.lookup_binding(expr)
            if found is None:
                return expr
            expr = found
        return expr

    def source(self, expr) -> str:
        """Return the input that indices come from through changes of form, empty for others."""
        while True:
            expr = self.value(expr)
            if op_name(expr) not in ("astype", "reshape", "squeeze", "expand_dims", "permute_dims"):
                return self.names.get(expr, "") if isinstance(expr, relax.Var) else ""
            expr = expr.args[0]

    def name(self, data) -> str:
        """Return what a user can find a tensor by: its name, else its type."""
        value = self.value(data)
        kind = f"{data.ty.dtype}{list(static_shape(data) or ())}"
        if isinstance(value, tvm.ir.GenericConst):
            known = self.parameters.get(digest(value.value.numpy()))
            return f"'{known[0]}' {kind}" if known else f"a constant {kind}"
        return f"{self.names[value]} {kind}" if value in self.names else f"a tensor {kind}"


def _allowed(sizes: Sequence[int], negative: bool = True) -> str:
    ranges = [f"{-size if negative else 0} to {size - 1}" for size in dict.fromkeys(sizes)]
    return "allowed: " + ", ".join(ranges)


def checked(
    builder: relax.BlockBuilder, indices, sizes: list[int], where: str, negative: bool = True
) -> relax.Var:
    """Emit a copy of indices that are right; see `check_function`."""
    gv = builder.add_func(check_function(indices.ty, sizes, where, negative), CHECK)
    return builder.emit(relax.call_tir(gv, [indices], indices.ty))


def check_function(
    kind: relax.TensorType, sizes: list[int], where: str, negative: bool
) -> tirx.PrimFunc:
    """Return a PrimFunc that copies indices, makes them non-negative, and fails for others.

    Parameters
    ----------
    kind : relax.TensorType
        Of the indices; dimensions may be symbolic.
    sizes : list of int
        One, or one for each number along the last dimension.
    where : str
        What the message names.
    negative : bool
        Let negative ones count from the end.
    """
    dtype = str(kind.dtype)
    negative = negative and not dtype.startswith("uint")
    shape = [int(dim) if isinstance(dim, int | tirx.IntImm) else dim for dim in kind.shape.values]
    source = tirx.decl_buffer(shape, dtype, "indices")
    result = tirx.decl_buffer(shape, dtype, "right")
    loops = [tirx.Var(f"i{at}", "int64") for at in range(len(shape))]
    index = tirx.BufferLoad(source, loops)
    size = tirx.const(sizes[-1], dtype)
    for at in reversed(range(len(sizes) - 1)):
        size = tirx.Select(
            tirx.EQ(loops[-1], tirx.const(at, "int64")), tirx.const(sizes[at], dtype), size
        )
    low = -size if negative else tirx.const(0, dtype)
    text = f"{where} is outside; {_allowed(sizes, negative)}"
    inside = tirx.all(index >= low, index < size)
    body = tirx.SeqStmt(
        [
            tirx.AssertStmt(inside, tvm.ir.StringImm("ValueError"), [tvm.ir.StringImm(text)]),
            tirx.BufferStore(result, tirx.Select(index < 0, index + size, index), loops),
        ]
    )
    for loop, extent in reversed(list(zip(loops, shape, strict=True))):
        body = tirx.For(loop, 0, extent, tirx.ForKind.SERIAL, body)
    # TVM's passes expect a root block around whatever a Relax module calls.
    root = SBlock([], [], [], "root", body)
    function = tirx.PrimFunc([source, result], SBlockRealize([], True, root))
    # The way to the same elsewhere, with the text that says whose index it is.
    told = json.dumps({"sizes": list(sizes), "negative": negative, "of": where.rstrip(",")})
    return function.with_attrs({CHECKED: told, "tirx.noalias": True, "s_tir": True})
