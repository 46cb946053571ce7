"""What the kinds of layers share while they are replaced: functions, activations, their rows."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from tvm import relax, tirx
from tvm.ir import GlobalVar
from tvm.relax.expr_functor import PyExprMutator

from ....target.errors import UnsupportedError
from ....target.formats import MACRO_BLOCK
from ....target.weight import blocks
from ...kinds.registry import kind_of
from ...names import SYMBOL
from ...operators import Quantize, own_sizes
from ...partition.graph import op_name, sized_shape
from ...partition.layer import Layer, Partition
from ...quant.host_formats import STUDY_ACTIVATIONS
from ...symbolic import Symbolic
from ...tir.sizes import Extents
from ...tir.tokens import rounded_tokens
from ..activations import Activations
from ..pack import Packed
from ..records import LayerRecord


@dataclass(frozen=True)
class Shared:
    """What the functions of one module share.

    Attributes
    ----------
    packed : mapping of int to Packed
        By the number of a layer.
    migration : mapping of int to str
        By the same: where the factors went that divide the layer's input.
    activations : Activations
        The recipe's, by the roles of layers' inputs.
    records : dict of str to LayerRecord
        Of what was emitted so far, by symbol.
    functions : dict of str to GlobalVar
        PrimFuncs that several calls may share, by name.
    """

    packed: Mapping[int, Packed]
    migration: Mapping[int, str]
    activations: Activations
    records: dict[str, LayerRecord] = field(default_factory=dict)
    functions: dict[str, GlobalVar] = field(default_factory=dict)


class Emission(PyExprMutator):
    """Emits into one function; a mutator without the visits.

    Attributes
    ----------
    host : list of (str, str)
        Operators on the host that replacing adds, each with the reason.
    """

    def __init__(self, mod, part: Partition, shared: Shared, variables: dict[str, tirx.Var]):
        super().__init__(mod)
        self.part, self.shared = part, shared
        self.extents = Extents(variables)
        self.host: list[tuple[str, str]] = []
        self.quantized: dict = {}
        self.requantized: dict[int, list] = {}

    def emit(self, expr):
        """Bind an expression to a new variable."""
        return self.builder_.emit(expr)

    def add(self, func: tirx.PrimFunc, hint: str) -> GlobalVar:
        """Add a PrimFunc under a readable name; equal helpers are shared."""
        symbol = SYMBOL + re.sub(r"\W+", "_", hint)
        return self.builder_.add_func(func.without_attr("global_symbol"), symbol)

    def helper(self, name: str, make: Callable[[], tirx.PrimFunc]) -> GlobalVar:
        """Return the function of that name, which is made for its first caller."""
        if name not in self.shared.functions:
            self.shared.functions[name] = self.add(make(), name)
        return self.shared.functions[name]

    def call(self, gv, args, types, count=1) -> list:
        """Emit a call_tir and return its results."""
        result = self.emit(relax.call_tir(gv, args, types if count > 1 else types[0]))
        if count == 1:
            return [result]
        return [self.emit(relax.TupleGetItem(result, i)) for i in range(count)]

    def reshaped(self, expr, shape):
        """Return an expression in a shape."""
        if sized_shape(expr) == tuple(shape):
            return expr
        return self.emit(relax.op.reshape(expr, self.extents(tuple(shape))))

    def tensor(self, shape, dtype: str) -> relax.TensorType:
        """Return the type of a tensor."""
        return relax.TensorType(self.extents(tuple(shape)), dtype)

    def gather(self, expr, channels: np.ndarray):
        """Return a ``(batch, rows, channels)`` value with its channels in another order."""
        indices = relax.const(channels.astype(np.int32))
        return self.emit(relax.op.take(expr, indices, axis=2, mode="clip"))

    def quantize(self, layer: Layer, x, shape, group: int, across: bool = False) -> list:
        """Return int8 codes and exponents of an activation's rows; shared by its readers.

        Parameters
        ----------
        layer : Layer
            A reader, whose format it gets.
        shape : tuple of int
            ``(..., length)``; of rows that lie across ``(batch, length, rows)``.
        """
        batch, rows, length = 1, math.prod(shape[:-1]), shape[-1]
        if across:
            batch, length, rows = shape
        # Torch exports a view of a linear layer's input for each layer that reads it.
        activation = self.shared.activations.of(layer)
        key = (hash(self.unshaped(x)), rows, length, group, across, activation)
        if key not in self.quantized:
            op = Quantize(rows, length, group, activation, batch, across)
            name = f"quantize_{rows}x{length}_g{group}"
            name += f"_pixels_b{batch}" if across else ""
            # Where others are quantized to it, too, the recipe's format needs no mention.
            others = activation != self.shared.activations.default
            name += f"_{activation}" if others else ""
            own = own_sizes(op)
            gv = self.helper(name, lambda: kind_of(own).expression(own))
            self.shared.records.setdefault(gv.name_hint, LayerRecord(name, "quantize"))
            exponents = (batch, rows, op.groups)
            types = [self.tensor(op.shape, "int8"), self.tensor(exponents, "int8")]
            self.quantized[key] = self.call(gv, [self.reshaped(x, op.shape)], types, 2)
        return self.quantized[key]

    def rows(self, layer: Layer, x, shape, group: int) -> list:
        """Return x and exponents as ``(batch, rows, k)`` and ``(batch, rows, groups)``.

        They are those that the layer's source gave, if it has one.

        Raises
        ------
        UnsupportedError
            When the source's columns, a block of which shares an exponent, make other groups.
        """
        k = shape[-1]
        if layer.source is not None:
            if group != MACRO_BLOCK:
                raise UnsupportedError(
                    f"layer '{layer.name}': groups of {group} inputs behind another layer's int8 "
                    f"result; allowed: {MACRO_BLOCK}, as it was quantized"
                )
            q, e = self.requantized[layer.source]
        else:
            q, e = self.quantize(
                layer, x, shape, group if isinstance(k, Symbolic) else min(k, group)
            )
        groups = blocks(k, group)
        return [self.reshaped(q, shape), self.reshaped(e, (*shape[:-1], groups))]

    def rounded(self, x, rows: int, length: int):
        """Return fp32 ``(rows, length)`` of a layer's input on the host; shared by its readers."""
        activation = self.shared.activations.default
        if activation not in STUDY_ACTIVATIONS:
            return self.reshaped(x, (rows, length))
        if isinstance(rows, Symbolic) or isinstance(length, Symbolic):
            raise UnsupportedError(
                f"activations rounded to {activation}, to compare, must have known sizes; these "
                f"have {rows} x {length}"
            )
        key = (hash(self.unshaped(x)), rows, length, activation)
        if key not in self.quantized:
            name = f"{activation}_{rows}x{length}"
            gv = self.helper(name, lambda: rounded_tokens(rows, length, activation))
            flat = self.reshaped(x, (rows, length))
            self.quantized[key] = self.call(gv, [flat], [self.tensor((rows, length), "float32")])
            self.host.append(("quantize", f"rounds activations to {activation}, to compare"))
        return self.quantized[key][0]

    def unshaped(self, expr):
        """Return what an expression is a reshape of, itself if it is none."""
        value = self.bound(expr)
        return self.unshaped(value.args[0]) if op_name(value) == "reshape" else expr

    def bound(self, expr):
        """Return what a variable of the new function is bound to, another expression as it is."""
        return self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr
