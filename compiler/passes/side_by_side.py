"""Puts groups of a convolution side by side on the array: its rows hold the taps of several.

A depthwise convolution of 3x3 has groups of nine inputs and one output: alone, each takes one
column of the array. As blocks along a diagonal, those that fit are one product with the same sums.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...target.arch import Arch
from ...target.diagonal import block_diagonal
from ...target.errors import CapacityError
from ...target.packing import pack
from ...target.packing import unpack as weights_of
from ...target.weight import QuantizedWeight
from ..kinds.registry import cost_of, from_attribute, kind_of
from ..operators import ATTRIBUTE, Gemm
from ..partition.graph import Graph, function_names, op_name
from ..quant.grids.alignment import panels_too_wide
from ..tiling.tile import array_limits
from ..tir.unpack import unpack
from .lower import packed_behind, quantized_functions, weight_arguments
from .rewrite.gemm import LAYER


def side_by_side(mod: tvm.IRModule, arch: Arch) -> tvm.IRModule:
    """Return the module with groups of convolutions side by side where a machine is faster so.

    Its functions keep their names, and their results every bit.
    """
    operators = {
        gv.name_hint: from_attribute(str(function.attrs[ATTRIBUTE]))
        for gv, function in quantized_functions(mod)
    }
    placed: dict[str, Placed] = {}
    for gv in function_names(mod):
        graph = Graph(mod[gv])
        for _, call in graph.order:
            name = call.args[0].name_hint if op_name(call) == "call_tir" else ""
            op = operators.get(name)
            if isinstance(op, Gemm) and op.conv and op.conv_groups > 1 and name not in placed:
                found = _placed(op, packed_behind(graph.value, call, op), arch)
                placed |= {name: found} if found else {}
    return _replaced(mod, placed) if placed else mod


class Placed(NamedTuple):
    """What stands for a convolution, and its packed weights."""

    op: Gemm
    segment: bytes


def _replaced(mod: tvm.IRModule, placed: dict[str, Placed]) -> tvm.IRModule:
    """Return the module with other functions under the same names, called with other weights."""
    attrs, old = dict(mod.attrs), quantized_functions(mod)
    replaced = {gv.name_hint: function for gv, function in old if gv.name_hint in placed}
    kept = {gv: function for gv, function in mod.functions.items() if gv.name_hint not in replaced}
    mod, made = tvm.IRModule(kept), dict[str, tvm.ir.GlobalVar]()
    for gv in function_names(mod):
        place = _Place(mod, placed, replaced, made)
        place.builder_.update_func(gv, place.visit_expr(mod[gv]))
        mod = place.builder_.get()
    return relax.transform.DeadCodeElimination()(mod).with_attrs(attrs)


@mutator
class _Place(PyExprMutator):
    """Calls what stands for convolutions; a variable of a function has the type that it was made
    with, so that each gets a new one of the same name."""

    def __init__(self, mod: tvm.IRModule, placed: dict[str, Placed], replaced, made):
        super().__init__(mod)
        self.placed, self.replaced, self.made = placed, replaced, made

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        name = call.args[0].name_hint if op_name(call) == "call_tir" else ""
        if name not in self.replaced:
            return call
        op, segment = self.placed[name]
        if name not in self.made:
            function = kind_of(op).expression(op).with_attr(LAYER, self.replaced[name].attrs[LAYER])
            self.made[name] = self.builder_.add_func(_private(function), name)
        arguments = list(call.args[1].fields)
        place = weight_arguments(op)
        arguments[place] = self.decoded(op, segment)[: place.stop - place.start]
        called = [self.made[name], relax.Tuple(arguments), *call.args[2:]]
        return self.builder_.normalize(relax.Call(call.op, called, call.attrs, call.ty_args))

    def decoded(self, op: Gemm, segment: bytes) -> list:
        """Emit the decoding of packed weights."""
        shape = (op.conv_groups, op.n, op.k)
        name = f"unpack_{op.weight_format}_{'x'.join(map(str, shape))}"
        gv = self.builder_.add_func(_private(unpack(op.weight_format, *shape)), name)
        types = [
            relax.TensorType(shape, "int32"),
            relax.TensorType((op.conv_groups, op.groups, op.n), "float32"),
        ]
        packed = relax.const(np.frombuffer(segment, np.uint8).copy())
        both = self.builder_.emit(relax.call_tir(gv, [packed], types))
        return [self.builder_.emit(relax.TupleGetItem(both, index)) for index in range(2)]


def _private(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return a function that goes when nothing calls it."""
    return function.without_attr("global_symbol")


def together(op: Gemm, count: int) -> Gemm:
    """Return a convolution with so many of its groups in one."""
    assert op.conv is not None
    return replace(
        op,
        conv_groups=op.conv_groups // count,
        n=op.n * count,
        k=op.k * count,
        conv=replace(op.conv, channels=op.conv.channels * count),
        side_by_side=op.side_by_side * count,
    )


def _placed(op: Gemm, segment: bytes, arch: Arch) -> Placed | None:
    """Return a convolution with groups side by side, as far as array and weights let them be."""
    counts = _counts(op, arch)
    alone = _cycles(op, arch) if counts else 0.0
    weights = weights_of(segment, op.weight_format, op.n, op.k) if counts else []
    for count in counts:
        found = together(op, count)
        if _cycles(found, arch) >= alone:
            continue
        blocks = [block_diagonal(weights[at : at + count]) for at in range(0, len(weights), count)]
        made = [block for block in blocks if block is not None and _sums_fit(block)]
        if len(made) == len(blocks):
            return Placed(found, pack(made))
    return None


def _counts(op: Gemm, arch: Arch) -> list[int]:
    """Return how many groups may be side by side, the best first.

    The most that the array's rows hold are one plane of weights; the most whose inputs make one sum
    are more planes of fewer products, which suits few rows of activations. Fewer are for weights
    that don't go with so many others.
    """
    columns, rows = array_limits(op, arch)
    most = min(op.conv_groups, op.group // op.k, columns // op.n)
    every = [count for count in range(most, 1, -1) if op.conv_groups % count == 0]
    within = [count for count in every if count * op.k <= rows]
    best = sorted({*every[:1], *within[:1]}, key=lambda count: _cycles(together(op, count), arch))
    return best + within[1:]


def _cycles(op: Gemm, arch: Arch) -> float:
    try:
        return cost_of(op, kind_of(op).default_tile(op, arch), arch).cycles
    except CapacityError:
        return float("inf")


def _sums_fit(weight: QuantizedWeight) -> bool:
    """Tell whether one base exponent for all of a panel keeps its sums in 32 bits."""
    return weight.row.column_scale is not None or not panels_too_wide(weight).any()
