"""Emits what replaces the layers of a partition: quantization, unpacking and integer products."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...target.formats import ACTIVATION_FORMATS, GROUP_SIZE
from ...target.packing import bits_per_weight
from ..operators import Conv, Gemm, Quantize
from ..partition.graph import op_name, static_shape
from ..partition.layer import Layer, Partition
from ..quant.host_formats import STUDY_ACTIVATIONS
from ..tir.gemm import gemm
from ..tir.quantize import quantize
from ..tir.tokens import rounded_tokens
from ..tir.unpack import unpack
from .host_layers import emit_on_host
from .pack import Packed

LAYER = "microscopiq.layer"
"""PrimFunc attribute: number and name of the layer in the source model."""


@dataclass
class State:
    """What the rewriting of one module shares."""

    packed: dict[int, Packed]
    activation: str
    layers: dict[str, dict] = field(default_factory=dict)
    functions: dict[str, Any] = field(default_factory=dict)


@mutator
class Rewriter(PyExprMutator):
    """Replaces the root of each layer by its quantized operators; the rest becomes dead."""

    def __init__(self, mod, part: Partition, state: State):
        super().__init__(mod)
        self.part, self.state = part, state
        self.roots = {hash(layer.root): layer for layer in part.layers}
        self.quantized: dict = {}
        self.requantized: dict = {}

    def visit_call_(self, call):
        layer = self.roots.get(hash(call))
        return self.visit_expr_post_order(call) if layer is None else self.replace(layer)

    def visit_tuple_getitem_(self, item):
        layer = self.roots.get(hash(item))
        if layer is None:
            return super().visit_tuple_getitem_(item)
        return self.replace(layer)

    def add(self, func: tirx.PrimFunc, hint: str):
        """Add a PrimFunc under a readable name; equal helpers are shared."""
        return self.builder_.add_func(func.without_attr("global_symbol"), _symbol(hint))

    def call(self, gv, args, types, count=1):
        """Emit a call_tir and return its results."""
        result = self.builder_.emit(relax.call_tir(gv, args, types if count > 1 else types[0]))
        if count == 1:
            return [result]
        return [self.builder_.emit(relax.TupleGetItem(result, i)) for i in range(count)]

    def reshaped(self, expr, shape):
        if static_shape(expr) == tuple(shape):
            return expr
        return self.builder_.emit(relax.op.reshape(expr, shape))

    def quantize(self, x, shape, group: int):
        """Return int8 rows ``shape`` and exponents of an activation; shared by its readers."""
        rows, length = int(np.prod(shape[:-1])), shape[-1]
        # Torch exports a view of a linear layer's input for each layer that reads it.
        key = (hash(self.unshaped(x)), rows, length, group)
        if key not in self.quantized:
            op = Quantize(rows, length, group, self.state.activation)
            share = f"quantize_{rows}x{length}_g{group}"
            if share not in self.state.functions:
                self.state.functions[share] = self.add(quantize(op), share)
                gv = self.state.functions[share]
                self.state.layers[gv.name_hint] = {"layer": share, "kind": "quantize"}
            types = [_type((rows, length), "int8"), _type((rows, op.groups), "int8")]
            flat = self.reshaped(x, (rows, length))
            self.quantized[key] = self.call(self.state.functions[share], [flat], types, 2)
        return self.quantized[key]

    def rounded(self, x, rows: int, length: int):
        """Return fp32 ``(rows, length)`` of a layer's input on the host; shared by its readers."""
        activation = self.state.activation
        if activation not in STUDY_ACTIVATIONS:
            return self.reshaped(x, (rows, length))
        key = (hash(self.unshaped(x)), rows, length, activation)
        if key not in self.quantized:
            share = f"{activation}_{rows}x{length}"
            if share not in self.state.functions:
                func = rounded_tokens(rows, length, activation)
                self.state.functions[share] = self.add(func, share)
            flat = self.reshaped(x, (rows, length))
            type_ = _type((rows, length), "float32")
            self.quantized[key] = self.call(self.state.functions[share], [flat], [type_])
            self.part.host.append(("quantize", f"rounds activations to {activation}, to compare"))
        return self.quantized[key][0]

    def unshaped(self, expr):
        """Return what an expression is a reshape of, itself if it is none."""
        value = self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr
        return self.unshaped(value.args[0]) if op_name(value) == "reshape" else expr

    def replace(self, layer: Layer):
        packed = self.state.packed.get(id(layer))
        if packed is not None and packed.values is not None:
            return emit_on_host(self.builder_, self.visit_expr, layer, packed, self.rounded)
        make = {"linear": self.linear, "conv2d": self.conv2d, "attention": self.attention}
        return make[layer.kind](layer)

    def linear(self, layer: Layer):
        n, k = layer.weight.shape
        m = int(np.prod(static_shape(layer.x))) // k
        operands = self.rows(layer.x, (1, m, k), layer.source)
        packed = self.state.packed[id(layer)]
        op = Gemm(
            1,
            1,
            m,
            n,
            k,
            packed.format,
            bias=layer.bias is not None,
            residual=layer.residual is not None,
            low=layer.low,
            high=layer.high,
            requantize=layer.requantize,
            activation=self.state.activation,
        )
        return self.finish(layer, op, operands, packed)

    def rows(self, x, shape, source: Layer | None = None):
        """Return x and exponents as ``(batch, rows, k)`` and ``(batch, rows, groups)``."""
        k = shape[-1]
        if source is not None:
            q, e = self.requantized[hash(source.root)]
        else:
            group = GROUP_SIZE if k > GROUP_SIZE else k
            q, e = self.quantize(self.visit_expr(x), shape, group)
        groups = -(-k // GROUP_SIZE)
        return [self.reshaped(q, shape), self.reshaped(e, (*shape[:-1], groups))]

    def conv2d(self, layer: Layer):
        out, channels, kernel_h, kernel_w = layer.weight.shape
        batch, total, height, width = static_shape(layer.x)
        attrs = layer.call.attrs
        pads = [int(p) for p in attrs.padding]
        pads = pads if len(pads) == 4 else [pads[0], pads[-1], pads[0], pads[-1]]
        strides, dilation = [int(s) for s in attrs.strides], [int(d) for d in attrs.dilation]
        conv = Conv(  # type: ignore[call-arg]  # two of the pads each
            channels, height, width, kernel_h, kernel_w, strides[0], strides[-1], *pads[:2],
            *pads[2:], dilation[0], dilation[-1],
        )  # fmt: skip
        groups = int(attrs.groups)
        n, k = out // groups, channels * kernel_h * kernel_w
        packed = self.state.packed[id(layer)]
        op = Gemm(
            batch,
            groups,
            conv.out_height * conv.out_width,
            n,
            k,
            packed.format,
            conv=conv,
            bias=layer.bias is not None,
            residual=layer.residual is not None,
            low=layer.low,
            high=layer.high,
            activation=self.state.activation,
        )
        length = total * height * width
        q, e = self.quantize(self.visit_expr(layer.x), (batch, length), length)
        return self.finish(layer, op, [self.reshaped(q, static_shape(layer.x)), e], packed)

    def attention(self, layer: Layer):
        left, right = static_shape(layer.x), static_shape(layer.other)
        batch, (m, k), n = int(np.prod(left[:-2])), left[-2:], right[-1]
        operands = self.rows(layer.x, (batch, m, k))
        transposed = self.transposed(self.visit_expr(layer.other), right)
        group = GROUP_SIZE if k > GROUP_SIZE else k
        q, e = self.quantize(transposed, (batch, n, k), group)
        groups = -(-k // GROUP_SIZE)
        operands += [self.reshaped(q, (batch, n, k)), self.reshaped(e, (batch, n, groups))]
        op = Gemm(
            batch, 1, m, n, k, "", residual=layer.residual is not None, low=layer.low,
            high=layer.high, activation=self.state.activation,
        )  # fmt: skip
        return self.finish(layer, op, operands, None)

    def transposed(self, expr, shape):
        """Return the operand with its last two dimensions swapped: columns become rows."""
        axes = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        value = self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr
        if op_name(value) == "permute_dims" and value.attrs.axes is not None:
            inner = [int(a) for a in value.attrs.axes]
            axes, expr = [inner[a] for a in axes], value.args[0]
            if axes == sorted(axes):
                return expr
        return self.builder_.emit(relax.op.permute_dims(expr, axes))

    def finish(self, layer: Layer, op: Gemm, operands: list, packed: Packed | None):
        """Emit the GEMM with its fused epilogue and give back the root's shape."""
        if packed:
            operands = operands + self.unpacked(op, packed)
        if layer.bias is not None:
            operands.append(relax.const(layer.bias))
        if layer.residual is not None:
            residual = self.reshaped(self.visit_expr(layer.residual), op.output_shape)
            operands.append(residual if layer.order is None else self.gather(residual, layer.order))
        # Equal functions would be shared, but each layer has a program function of its own; two
        # layers of two functions, or with equal biases, can have the same name.
        function = gemm(op).with_attr(LAYER, f"{len(self.state.layers)} {layer.name}")
        gv = self.add(function, layer.name)
        self.state.layers[gv.name_hint] = _record(layer, op, packed)
        shape = static_shape(layer.root)
        if not op.requantize:
            (y,) = self.call(gv, operands, [_type(op.output_shape, "float32")])
            if layer.order is not None and not layer.folded:
                y = self.gather(y, np.argsort(layer.order))
            return (
                y
                if op.output_shape == shape
                else self.builder_.normalize(relax.op.reshape(y, shape))
            )
        exponents = (op.batch, op.m, op.column_blocks)
        types = [_type(op.output_shape, "int8"), _type(exponents, "int8")]
        self.requantized[hash(layer.root)] = self.call(gv, operands, types, 2)
        # Only dead operators read it: their types must stay right until they are removed.
        return self.builder_.normalize(relax.op.zeros(shape, "float32"))

    def gather(self, expr, channels: np.ndarray):
        """Return a ``(batch, rows, channels)`` value with its channels in another order."""
        indices = relax.const(channels.astype(np.int32))
        return self.builder_.emit(relax.op.take(expr, indices, axis=2, mode="clip"))

    def unpacked(self, op: Gemm, packed: Packed) -> list:
        groups, out, inputs = packed.shape
        share = f"unpack_{packed.format}_{groups}x{out}x{inputs}"
        if share not in self.state.functions:
            func = unpack(packed.format, groups, out, inputs)
            self.state.functions[share] = self.add(func, share)
        segment = relax.const(np.frombuffer(packed.segment, np.uint8).copy())
        types = [
            _type((groups, out, inputs), "int32"),
            _type((groups, op.groups, out), "float32"),
        ]
        return self.call(self.state.functions[share], [segment], types, 2)


def _record(layer: Layer, op: Gemm, packed: Packed | None) -> dict:
    """Return the row of a layer for listings and reports."""
    record = {
        "layer": layer.name,
        "kind": layer.kind,
        "batch": op.batch,
        "conv_groups": op.conv_groups,
        "m": op.m,
        "n": op.n,
        "k": op.k,
        "macs": op.macs,
        "weight_format": op.weight_format
        or f"int{ACTIVATION_FORMATS[op.activation].bits} at run time",
        "fused": [
            name
            for name, present in (
                ("bias", op.bias),
                ("residual", op.residual),
                ("clamp", op.low is not None or op.high is not None),
                ("requantize", op.requantize),
            )
            if present
        ],
    }
    if layer.order is not None:
        record["output_order"] = "folded into its readers" if layer.folded else "gathered behind"
    if layer.migration:
        record["migration"] = layer.migration
    if packed:
        weights = int(np.prod(packed.shape))
        record |= {
            "weights": weights,
            "weight_bytes": len(packed.segment),
            "bits_per_weight": round(bits_per_weight(packed.segment, weights), 4),
            "counts": packed.counts,
            **packed.calibration,
        }
    return record


def _type(shape, dtype):
    return relax.TensorType(shape, dtype)


def _symbol(name: str) -> str:
    return "mq_" + re.sub(r"\W+", "_", name)
