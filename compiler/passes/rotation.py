"""Rotates what linear layers read by block Hadamard matrices, and their weights to match.

A block's few loud values are spread over all of it, so that fewer bits hold it (INT vs FP, arXiv
2510.25602; QuaRot). The input is rotated at run time, in additions and subtractions alone: the
matrix of ones and minus ones is symmetric, and its own inverse but for the block's length, which
the weights are divided by. The module computes what it did, up to fp32 rounding.
"""

import math

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.relax.expr_functor import mutator

from ..names import Names
from ..partition.graph import shape_of, static_shape
from ..partition.layer import Layer
from ..partition.partition import Partitions, partition
from ..partition.roles import roles
from ..quant.recipe import Recipe
from .migration.rescale import Plan, Rescale, unshaped

LEAST = 16
"""Inputs of a block below which nothing is rotated: too few to spread a loud one over."""


def rotate_model(
    mod: tvm.IRModule, parts: Partitions, names: Names, recipe: Recipe
) -> tuple[tvm.IRModule, Partitions]:
    """Return a module whose linear layers read rotated inputs, and its partitions.

    Blocks have `recipe.rotation` inputs, or as many as divide a layer's inputs; the layers have the
    numbers that they had. Left as they are: layers whose inputs make blocks of less than `LEAST`,
    and those whose activations have no sign, because a rotation's results have one.
    """
    attrs, all_names = dict(mod.attrs) if mod.attrs else {}, dict(names)
    for gv, part in parts.items():
        plan = RotationPlan(mod[gv])
        for layer in part.layers:
            plan.add(layer, recipe)
        rotate = _Rotate(mod, plan, all_names)
        rotate.builder_.update_func(gv, rotate.visit_expr(mod[gv]))
        mod, all_names = rotate.builder_.get(), rotate.names
    mod = mod.with_attrs(attrs) if attrs else mod
    after = {}
    for gv, part in parts.items():
        first = part.layers[0].number if part.layers else 0
        after[gv] = partition(mod[gv], all_names, first, recipe.in_fp32)
    return mod, after


class RotationPlan(Plan):
    """Layers of one function whose inputs are rotated, with the lengths of their blocks."""

    def __init__(self, function: relax.Function):
        super().__init__(function)
        self.blocks: dict[int, int] = {}

    def add(self, layer: Layer, recipe: Recipe) -> None:
        """Rotate a layer's input, if it's a linear layer's that can be."""
        if layer.kind != "linear":
            return
        block = math.gcd(layer.matrix.shape[1], recipe.rotation)
        source = unshaped(self.graph, layer)
        signed = "nonnegative" not in recipe.activations or (
            "nonnegative" not in roles(self.graph, layer)
        )
        if block >= LEAST and signed and static_shape(source) is not None:
            self.blocks[hash(layer.call)] = block
            self.quotients[hash(layer.call)] = (source, np.array(block))

    def replaced(self, call) -> dict[int, np.ndarray]:
        """Return the rotated weight of a call ``(in, out)``."""
        block = self.blocks.get(hash(call))
        return {} if block is None else {1: rotated(self.original(call, 1), block)}


@mutator
class _Rotate(Rescale._cls):  # type: ignore[name-defined]  # below the decorator
    """Gives layers their rotated inputs and weights."""

    def quotient(self, source, inverse: np.ndarray, shape: tuple[int, ...]):
        """Return a value whose blocks of so many elements are rotated, for all readers."""
        key = hash(source), int(inverse)
        if key not in self.quotients:
            self.quotients[key] = self._butterflies(self.visit_expr(source), int(inverse))
        result = self.quotients[key]
        if static_shape(result) == shape:
            return result
        return self.builder_.emit(relax.op.reshape(result, shape))

    def _butterflies(self, x, block: int):
        """Return x after log2(block) steps of sums and differences of elements 1, 2, 4 .. apart."""
        shape, emit = shape_of(x), self.builder_.emit
        distance = 1
        while distance < block:
            pairs = (math.prod(shape) // (2 * distance), 2, distance)
            step = self.builder_.add_func(butterfly(pairs), "butterfly")
            rows = emit(relax.op.reshape(x, pairs))
            half = relax.TensorType((pairs[0], 1, distance), "float32")
            both = emit(relax.call_tir(step, [rows], [half, half]))
            halves = [emit(relax.TupleGetItem(both, number)) for number in range(2)]
            x = emit(relax.op.concat(halves, axis=1))
            distance *= 2
        return emit(relax.op.reshape(x, shape))


def butterfly(shape: tuple[int, int, int]) -> tirx.PrimFunc:
    """Return the PrimFunc of sums and differences of ``x[:, 0]`` and ``x[:, 1]``.

    Steps of Relax's operators would be fused: a function of five looks at 32 elements for each of
    its results.
    """
    pairs, _, distance = shape
    x = te.placeholder(shape, "float32", "x")
    some = (pairs, 1, distance)
    total = te.compute(some, lambda p, _, d: x[p, 0, d] + x[p, 1, d], "total")
    difference = te.compute(some, lambda p, _, d: x[p, 0, d] - x[p, 1, d], "difference")
    made = te.create_prim_func([x, total, difference])
    return made.without_attr("global_symbol")


def rotated(weight: np.ndarray, block: int) -> np.ndarray:
    """Return float32 ``(in, out)`` whose blocks of inputs are rotated and divided by the length."""
    inputs, out = weight.shape
    blocks = weight.astype(np.float64).reshape(inputs // block, block, out)
    return (hadamard(block) @ blocks / block).reshape(inputs, out).astype(np.float32)


def hadamard(size: int) -> np.ndarray:
    """Return Sylvester's matrix of ones and minus ones, float64 ``(size, size)``."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.kron(np.array([[1, 1], [1, -1]]), matrix)
    return matrix
