"""Rounds keys and values of attention as a cache of few bits would hold them (KIVI's layout).

Keys have a scale per channel and group of tokens, values one per token and group of channels; the
most recent tokens stay as they are (arXiv 2402.02750; MicroScopiQ A2). As both are the right
operand of a product, K^T and V, groups lie along its last axis in both. Written as Relax operators,
so that calibration, LLVM and the host all see the same values; no machine stores a cache yet.
"""

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...target.errors import ConfigError
from ..partition.graph import Graph, function_names, op_name, shape_of
from ..quant.host_formats import KV_FORMATS, KvFormat
from ..quant.recipe import Recipe

VIEWS = ("astype", "reshape", "expand_dims", "squeeze", "broadcast_to")
SCORES = (*VIEWS, "add", "subtract", "multiply", "divide", "where", "clip", "maximum", "minimum")
"""What may lie between a product of queries and keys and the softmax."""


def round_caches(mod: tvm.IRModule, recipe: Recipe) -> tvm.IRModule:
    """Return the module with keys and values rounded.

    Raises
    ------
    ConfigError
        For a model without attention.
    """
    attrs, rounded = dict(mod.attrs) if mod.attrs else {}, 0
    for gv in function_names(mod):
        products = attention_products(mod[gv])
        rounded += len(products)
        mutate = _RoundCaches(mod, products, KV_FORMATS[recipe.kv_cache])
        mutate.builder_.update_func(gv, mutate.visit_expr(mod[gv]))
        mod = mutate.builder_.get()
    if not rounded:
        raise ConfigError(
            f"recipe '{recipe.name}': kv_cache = '{recipe.kv_cache}' needs attention, a softmax "
            "between two products of activations, and the model has none"
        )
    return mod.with_attrs(attrs) if attrs else mod


def attention_products(function: relax.Function) -> dict[int, str]:
    """Return which matrix products of a function read a cache: "keys" or "values", by hash."""
    graph = Graph(function)
    found: dict[int, str] = {}
    for _, value in graph.order:
        if op_name(value) != "matmul":
            continue
        softmax = _origin(graph, value.args[0], VIEWS)
        if op_name(softmax) != "nn.softmax":
            continue
        scores = _origin(graph, softmax.args[0], SCORES)
        if op_name(scores) == "matmul" and graph.constant(scores.args[1]) is None:
            found |= {hash(value): "values", hash(scores): "keys"}
    return found


def _origin(graph: Graph, expr, passing: tuple[str, ...]):
    """Return what made a value, behind operators that keep its elements where they are."""
    value = graph.value(expr)
    while op_name(value) in passing:
        operands = [arg for arg in value.args if isinstance(arg, relax.Var)]
        known = [graph.value(arg) for arg in operands if graph.constant(arg) is None]
        # A mask comes from elsewhere: follow the operand that a product or softmax can have made.
        value = next((arg for arg in known if isinstance(arg, relax.Call)), None)
    return value


@mutator
class _RoundCaches(PyExprMutator):
    """Rounds the right operand of products that read a cache."""

    def __init__(self, mod, products: dict[int, str], kind: KvFormat):
        super().__init__(mod)
        self.products, self.kind = products, kind

    def visit_call_(self, call):
        what = self.products.get(hash(call))
        new = self.visit_expr_post_order(call)
        if what is None:
            return new
        axis = -1 if what == "keys" else -2
        return relax.op.matmul(new.args[0], self.cached(new.args[1], call.args[1], axis))

    def cached(self, expr, original, tokens: int):
        """Return an operand whose tokens lie along an axis, all but the recent ones rounded."""
        shape = shape_of(original)
        old = shape[tokens] - self.kind.recent
        if old <= 0:
            return expr
        parts = self.split(expr, [old], tokens)
        length = old if tokens == -1 else shape[-1]
        starts = list(range(self.kind.group, length, self.kind.group))
        rounded = [self.rounded(part) for part in self.split(parts[0], starts, -1)]
        whole = self.joined(rounded, -1)
        return self.joined([whole, parts[1]], tokens)

    def split(self, expr, places: list[int], axis: int) -> list:
        if not places:
            return [expr]
        parts = self.builder_.emit(relax.op.split(expr, places, axis))
        return [self.builder_.emit(parts[number]) for number in range(len(places) + 1)]

    def joined(self, parts: list, axis: int):
        return self.builder_.emit(relax.op.concat(parts, axis)) if len(parts) > 1 else parts[0]

    def rounded(self, x):
        """Return one group's values: codes between its least and largest, in fp16 steps."""
        emit, op = self.builder_.emit, relax.op
        levels = relax.const(np.float32((1 << self.kind.bits) - 1))
        low = self.fp16(emit(op.min(x, axis=-1, keepdims=True)))
        high = emit(op.max(x, axis=-1, keepdims=True))
        step = self.fp16(emit(op.divide(emit(op.subtract(high, low)), levels)))
        # Equal values have a step of 0, which nothing can be divided by.
        least = relax.const(np.float32(np.finfo(np.float16).smallest_subnormal))
        step = emit(op.maximum(step, least))
        ratio = emit(op.divide(emit(op.subtract(x, low)), step))
        codes = emit(op.clip(emit(op.round(ratio)), 0, (1 << self.kind.bits) - 1))
        return emit(op.add(emit(op.multiply(codes, step)), low))

    def fp16(self, x):
        half = self.builder_.emit(relax.op.astype(x, "float16"))
        return self.builder_.emit(relax.op.astype(half, "float32"))
