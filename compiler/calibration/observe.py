"""Makes the module of a calibration run, whose products call back and so show their rows."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..partition.graph import Graph, op_name, static_shape
from ..partition.layer import Layer, Ordering, Partition, Replaced, matrices
from ..quant.statistics import MOST_HELD_OUT, Statistics
from .products import Convolution, Linear, Product, matmul

TINY = np.finfo(np.float32).tiny


@dataclass
class Rows:
    """Rows of activations that one or more layers multiply, and what is known of them.

    Attributes
    ----------
    number : int
        From 0 on, in execution order.
    function : str
        Where the layers are.
    layers : list of Layer
        The first shows its rows, which are the others' too.
    groups, inputs : int
        Of a convolution's matrices; one group for a linear layer.
    columns : numpy.ndarray or None
        The layers' order of the inputs, if not the source's.
    statistics : list of Statistics
        One per group, in the source's order; empty while nobody gathers them.
    """

    number: int
    function: str
    layers: list[Layer]
    groups: int
    inputs: int
    columns: np.ndarray | None = None
    statistics: list[Statistics] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Size of second moments and held-out rows while they are held."""
        return self.groups * 4 * self.inputs * (self.inputs + MOST_HELD_OUT)

    def start(self) -> None:
        """Begin with sums of nothing."""
        self.statistics = [Statistics(self.inputs) for _ in range(self.groups)]

    def ordered(self) -> list[Statistics]:
        """Give the statistics away, in the layers' order of the inputs."""
        found, self.statistics = self.statistics, []
        if self.columns is not None:
            for one in found:
                one.order(self.columns)
        return found


@dataclass(frozen=True)
class Place:
    """One operator that a run computes with BLAS."""

    product: Product
    operands: tuple
    rows: Rows | None = None
    layer: Layer | None = None


def find_rows(mod: tvm.IRModule, parts: dict, entry: str) -> list[Rows]:
    """Return the rows of all weighted layers in execution order, those of `entry` first."""
    found: list[Rows] = []
    for gv, part in sorted(parts.items(), key=lambda item: item[0].name_hint != entry):
        shared: dict[tuple, Rows] = {}
        graph = Graph(mod[gv])
        for layer in part.layers:
            if layer.weight is None:
                continue
            columns = part.ordering(layer).columns
            key = _key(graph, layer, columns)
            if key in shared:
                shared[key].layers.append(layer)
                continue
            groups, _, inputs = matrices(layer).shape
            shared[key] = Rows(len(found), gv.name_hint, [layer], groups, inputs, columns)
            found.append(shared[key])
    return found


def _key(graph: Graph, layer: Layer, columns: np.ndarray | None) -> tuple:
    """Return what two layers have in common if they multiply the same rows."""
    order = None if columns is None else columns.tobytes()
    if layer.kind == "linear":
        source = graph.value(layer.x)
        # Torch exports a view of a linear layer's input for each layer that reads it.
        while op_name(source) == "reshape":
            source = graph.value(source.args[0])
        return "linear", hash(source), layer.matrix.shape[1], order
    conv = convolution_of(layer.call, layer.matrix)
    sizes = (conv.weight.shape[2:], conv.groups, conv.strides, conv.pads, conv.dilation)
    return "conv2d", hash(graph.value(layer.x)), *sizes


def observed(
    mod: tvm.IRModule, parts: dict, rows: list[Rows], name: str
) -> tuple[tvm.IRModule, list[Place]]:
    """Return the module that calls a packed function `name` for its products, and which they are.

    The function gets the place's number, the operands that aren't constant, and the result.
    """
    first = {one.layers[0].number: one for one in rows}
    places: list[Place] = []
    for gv, part in parts.items():
        numbers = {}
        for call, place in _places(mod[gv], part, first):
            numbers[hash(call)] = (len(places), place)
            places.append(place)
        rewrite = _Observe(mod, numbers, name)
        rewrite.builder_.update_func(gv, rewrite.visit_expr(mod[gv]))
        mod = rewrite.builder_.get()
    return relax.transform.DeadCodeElimination()(mod), places


def _places(function: relax.Function, part: Partition, first: dict[int, Rows]):
    """Yield each operator that BLAS takes over with its place."""
    graph = Graph(function)
    layers = {hash(layer.call): layer for layer in part.layers}
    for _, value in graph.order:
        layer = layers.get(hash(value))
        if layer is not None and layer.weight is not None:
            weight = graph.constant(value.args[1], copy=False)
            assert weight is not None, layer.name
            linear = layer.kind == "linear"
            product = Linear(weight) if linear else convolution_of(value, weight)
            yield value, Place(product, (value.args[0],), first.get(layer.number), layer)
        elif op_name(value) == "matmul" and is_plain(value):
            yield value, Place(matmul, tuple(value.args))


def is_plain(call) -> bool:
    """Tell whether BLAS computes a product as it is: float32 of known shape, and not nothing."""
    return all(
        str(expr.ty.dtype) == "float32" and np.prod(static_shape(expr) or (0,)) > 0
        for expr in (call, *call.args)
    )


def convolution_of(call, weight: np.ndarray) -> Convolution:
    attrs = call.attrs
    pads = [int(pad) for pad in attrs.padding]
    pads = pads if len(pads) == 4 else [pads[0], pads[-1], pads[0], pads[-1]]
    strides, dilation = [int(s) for s in attrs.strides], [int(d) for d in attrs.dilation]
    return Convolution(
        weight,
        int(attrs.groups),
        (strides[0], strides[-1]),
        (pads[0], pads[1], pads[2], pads[3]),
        (dilation[0], dilation[-1]),
    )


def in_source(
    layer: Layer, ordering: Ordering, replaced: Replaced, product: Linear | Convolution
) -> Linear | Convolution:
    """Return a call's own product, of the source's channels, with what replaced its layer's weight.

    The layer's weight may have other orders of its channels and the factors of a batch norm behind
    the call.
    """
    original = product.weight
    linear = layer.kind == "linear"
    source = original.T if linear else original.reshape(len(original), -1)
    before = matrices(layer).reshape(source.shape)
    found, shift = np.empty_like(before), None
    place = np.ix_(
        *(np.arange(size) if order is None else order
          for order, size in zip((ordering.rows, ordering.columns), source.shape, strict=True))
    )  # fmt: skip
    found[place] = replaced.values.reshape(before.shape)
    if replaced.shift is not None:
        shift = np.empty_like(replaced.shift)
        shift[place[0][:, 0]] = replaced.shift
    ordered = np.empty_like(before)
    ordered[place] = before
    if not np.array_equal(ordered, source):
        factor = (ordered * source).sum(axis=1) / np.maximum(np.square(source).sum(axis=1), TINY)
        used = factor != 0
        found[used] /= factor[used, None]
        found[~used] = source[~used]
        if shift is not None:
            shift = np.divide(shift, factor, out=np.zeros_like(shift), where=used)
    weight = found.T.copy() if linear else found.reshape(original.shape)
    return dataclasses.replace(product, weight=weight, shift=shift)


@mutator
class _Observe(PyExprMutator):
    """Replaces products by calls of a packed function."""

    def __init__(self, mod, places: dict[int, tuple[int, Place]], name: str):
        super().__init__(mod)
        self.places, self.name = places, name

    def visit_call_(self, call):
        if hash(call) not in self.places:
            return self.visit_expr_post_order(call)
        number, place = self.places[hash(call)]
        operands = [self.visit_expr(operand) for operand in place.operands]
        result = relax.TensorType(static_shape(call), "float32")
        arguments = [relax.prim_value(number), *operands]
        return self.builder_.normalize(relax.op.call_dps_packed(self.name, arguments, result))
