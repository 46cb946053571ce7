"""Writes a model's operators as those that the rules know."""

import numpy as np
import tvm
from tvm import ir, relax, tirx
from tvm.relax import op
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...names import CHECKED
from ...partition.graph import LAYOUT, Graph, op_name, static_shape

MOVES = (*LAYOUT, "broadcast_to")
POSITIONS = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply}
"""Of integers that are constant, as positions are."""


def plain_operators(mod: tvm.IRModule) -> tvm.IRModule:
    """Return the module without dataflow blocks, constants folded, norms of batches as products."""
    source = mod["main"]
    write = _Write(mod, Graph(source))
    write.builder_.update_func(mod.get_global_var("main"), write.visit_expr(source))
    passes = tvm.transform.Sequential(
        [
            # Constants that were only given another shape are constants again.
            relax.transform.FoldConstant(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.EliminateCommonSubexpr(),
            relax.transform.DeadCodeElimination(),
            relax.transform.ToNonDataflow(),
        ]
    )
    return passes(write.builder_.get())


@mutator
class _Write(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, graph: Graph):
        super().__init__(mod)
        self.graph = graph

    def visit_call_(self, call):
        call = super().visit_call_(call)
        if op_name(call) == "arange" and all(isinstance(each, tirx.IntImm) for each in call.args):
            start, stop, step = (int(each) for each in call.args)
            dtype = str(call.attrs.dtype)
            return relax.const(np.arange(start, stop, step).astype(dtype), dtype)
        if op_name(call) == "index_tensor":
            found = self._looked_up(call)
            return call if found is None else found
        # TVM would build each of them for LLVM to compute it.
        numbers = self._computed(call)
        return call if numbers is None else relax.const(numbers, str(numbers.dtype))

    def _number(self, expr: relax.Expr) -> np.ndarray | None:
        if isinstance(expr, relax.Var):
            expr = self.lookup_binding(expr)
        return expr.value.numpy() if isinstance(expr, ir.GenericConst) else None

    def _index(self, expr: relax.Expr) -> np.ndarray | None:
        """Return an index that is constant, through its check."""
        value = self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr
        if op_name(value) == "call_tir":
            function = self.builder_.get()[value.args[0]]
            if CHECKED in (function.attrs or {}):
                return self._index(value.args[1].fields[0])
        return self._number(expr)

    def _computed(self, call: relax.Call) -> np.ndarray | None:
        """Return what moves or counts elements of constants; None of anything else."""
        name = op_name(call)
        if name in POSITIONS:
            sides = [self._number(each) for each in call.args]
            whole = [each for each in sides if each is not None and each.dtype.kind == "i"]
            return POSITIONS[name](*whole) if len(whole) == len(sides) else None
        numbers = self._number(call.args[0]) if name in MOVES else None
        if numbers is None:
            return None
        if name == "permute_dims":
            axes = call.attrs.axes
            return numbers.transpose(None if axes is None else [int(axis) for axis in axes])
        shape = static_shape(self.builder_.normalize(call))
        if shape is None:
            return None
        return np.broadcast_to(numbers, shape) if name == "broadcast_to" else numbers.reshape(shape)

    def _looked_up(self, call: relax.Call):
        """Return an index by constants as a `take`, without the choices that negative ones need."""
        shape = static_shape(call.args[0])
        found = [self._index(each) for each in call.args[1].fields]
        indices = [each for each in found if each is not None]
        if shape is None or not len(shape) == len(indices) == len(found):
            return None
        sizes = list(zip(np.broadcast_arrays(*indices), shape, strict=True))
        if not all((-size <= each).all() and (each < size).all() for each, size in sizes):
            return None
        places = np.ravel_multi_index([each % size for each, size in sizes], shape)
        flat = self.builder_.emit(op.reshape(call.args[0], [int(np.prod(shape))]))
        if not np.array_equal(places.reshape(-1), np.arange(np.prod(shape))):
            places_of = relax.const(places.reshape(-1).astype(np.int32), "int32")
            flat = self.builder_.emit(op.take(flat, places_of, 0, "fast"))
        return op.reshape(flat, places.shape)

    def visit_tuple_getitem_(self, getitem):
        call = self.graph.value(getitem.tuple_value)
        if getitem.index == 0 and op_name(call) == "nn.batch_norm":
            made = self._normed(call)
            if made is not None:
                return made
        return super().visit_tuple_getitem_(getitem)

    def _normed(self, call: relax.Call):
        """Return an inference batch norm as a product and a sum; None where it isn't constant."""
        found = [self.graph.constant(arg) for arg in call.args[1:5]]
        values = [each.astype(np.float64) for each in found if each is not None]
        if len(values) < len(found) or bool(call.attrs.training):
            return None
        gamma, beta, mean, variance = values
        factor = 1.0 / np.sqrt(variance + float(call.attrs.epsilon))
        factor = factor * gamma if call.attrs.scale else factor
        offset = -mean * factor + (beta if call.attrs.center else 0.0)
        x = self.visit_expr(call.args[0])
        rank = len(x.ty.shape.values)
        shape = [1] * (rank - 1 - int(call.attrs.axis) % rank)
        factor, offset = (
            relax.const(each.reshape(-1, *shape).astype(np.float32)) for each in (factor, offset)
        )
        return op.add(self.builder_.emit(op.multiply(x, factor)), offset)
