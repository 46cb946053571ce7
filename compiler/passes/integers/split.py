"""Cuts products of integers along their inputs where fp32 couldn't hold a sum exactly."""

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op
from tvm.relax.expr_functor import PyExprMutator, mutator

from ....target.formats import GROUP_SIZE
from ...partition.graph import Graph, function_names, op_name, shape_of, static_shape
from ...partition.integers import EXACT, LOWEST, is_integer, largest_sum
from .arithmetic import part


def split_long_sums(mod: tvm.IRModule) -> tvm.IRModule:
    """Return a module whose products of integers have sums that fp32 holds, as far as cuts go."""
    for gv in function_names(mod):
        if long := _long_products(mod[gv]):
            split = _Split(mod, long)
            split.builder_.update_func(gv, split.visit_expr(mod[gv]))
            mod = split.builder_.get()
    return mod


def _long_products(function: relax.Function) -> dict[int, list[tuple[int, int]]]:
    """Return the cuts of products that need some, by the call."""
    graph, found = Graph(function), {}
    for _, call in graph.order:
        if op_name(call) not in ("matmul", "nn.conv2d") or not is_integer(call):
            continue
        if any(static_shape(arg) is None for arg in call.args):
            continue
        if largest_sum(graph, call) > EXACT and len(cuts := _cuts(graph, call)) > 1:
            found[hash(call)] = cuts
    return found


def _cuts(graph: Graph, call) -> list[tuple[int, int]]:
    """Return ranges of inputs, or of a group's input channels, whose sums fp32 holds."""
    weight = graph.constant(call.args[1], copy=False)
    if op_name(call) == "matmul":
        length = shape_of(call.args[0])[-1]
        sums = np.full((length, 1), LOWEST) if weight is None else np.abs(weight.astype(np.int64))
        if weight is not None and weight.ndim > 2:
            sums = sums.reshape(-1, *weight.shape[-2:]).max(0)
        step = GROUP_SIZE
    elif weight is None:
        return []
    else:
        sums, step = np.abs(weight.astype(np.int64)).sum((2, 3)).T, 1
    return exact_ranges(sums, step)


def exact_ranges(magnitudes: np.ndarray, step: int) -> list[tuple[int, int]]:
    """Return ranges of rows ``(rows, columns)``, long as can be, whose products fp32 sums exactly.

    Parameters
    ----------
    step : int
        Rows that stay together.
    """
    starts = np.arange(0, len(magnitudes), step)
    sums = LOWEST * np.add.reduceat(magnitudes.astype(np.int64), starts, axis=0)
    ranges, first, held = [], 0, np.zeros_like(sums[0])
    for start, more in zip(starts, sums, strict=True):
        if start > first and (held + more).max() > EXACT:
            ranges.append((first, int(start)))
            first, held = int(start), np.zeros_like(held)
        held = held + more
    return [*ranges, (first, len(magnitudes))]


@mutator
class _Split(PyExprMutator):
    def __init__(self, mod, cuts: dict[int, list[tuple[int, int]]]):
        super().__init__(mod)
        self.cuts = cuts

    def visit_call_(self, call):
        cuts = self.cuts.get(hash(call))
        call = self.visit_expr_post_order(call)
        if cuts is None:
            return call
        emit = self.builder_.emit
        pieces = _linear if op_name(call) == "matmul" else _conv2d
        total = None
        for piece in pieces(emit, call, cuts):
            total = piece if total is None else emit(op.add(total, piece))
        return total


def _linear(emit, call, cuts):
    left, right = call.args
    ranks = len(shape_of(left)), len(shape_of(right))
    for start, end in cuts:
        operands = part(emit, left, ranks[0] - 1, start, end), _rows(emit, right, start, end)
        yield emit(op.matmul(*operands, out_dtype="int32"))


def _rows(emit, right, start: int, end: int):
    if isinstance(right, tvm.ir.GenericConst):
        return relax.const(np.ascontiguousarray(right.value.numpy()[..., start:end, :]))
    return part(emit, right, len(shape_of(right)) - 2, start, end)


def _conv2d(emit, call, cuts):
    image, kernel = call.args
    (batch, total, *pixels), groups = shape_of(image), int(call.attrs.groups)
    apart = emit(op.reshape(image, (batch, groups, total // groups, *pixels)))
    for start, end in cuts:
        channels = groups * (end - start)
        piece = emit(op.reshape(part(emit, apart, 2, start, end), (batch, channels, *pixels)))
        weight = part(emit, kernel, 1, start, end)
        if isinstance(kernel, tvm.ir.GenericConst):
            weight = relax.const(np.ascontiguousarray(kernel.value.numpy()[:, start:end]))
        yield emit(relax.Call(call.op, [piece, weight], call.attrs))
