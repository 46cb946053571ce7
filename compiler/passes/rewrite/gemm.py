"""The integer product of a layer on the array, with what is fused behind it, and its record."""

import numpy as np
from tvm import relax

from ....target.formats import ACTIVATION_FORMATS
from ....target.packing import bits_per_weight
from ...kinds.registry import kind_of
from ...operators import Conv, Gemm, own_sizes
from ...partition.graph import shape_of
from ...partition.layer import Layer, Ordering
from ...symbolic import largest
from ...tir.unpack import unpack
from ..pack import Packed
from ..records import LayerRecord, Weights, Work
from .emission import Emission

LAYER = "microscopiq.layer"
"""PrimFunc attribute: number and name of the layer in the source model."""


def product(
    emission: Emission,
    layer: Layer,
    batch: int,
    m: int,
    n: int,
    k: int,
    conv: Conv | None = None,
) -> Gemm:
    """Return the operator of a layer from its sizes."""
    packed = emission.shared.packed.get(layer.number)
    return Gemm(
        batch,
        layer.groups,
        m,
        n,
        k,
        packed.format if packed else "",
        conv=conv,
        bias=layer.bias is not None,
        residual=layer.residual is not None,
        low=layer.low,
        high=layer.high,
        requantize=layer.requantize,
        activation=emission.shared.activations.of(layer),
        outliers=packed is None or packed.counts.get("flagged") != 0,
    )


def emit_gemm(
    emission: Emission, layer: Layer, op: Gemm, operands: list, shape: tuple[int, ...] | None = None
):
    """Emit the product with its fused epilogue and give back a shape, the root's by default."""
    packed, order = emission.shared.packed.get(layer.number), emission.part.ordering(layer)
    if packed:
        operands = operands + _unpacked(emission, op, packed)
    if layer.bias is not None:
        operands.append(relax.const(layer.bias))
    if layer.residual is not None:
        residual = emission.reshaped(emission.visit_expr(layer.residual), op.output_shape)
        operands.append(residual if order.rows is None else emission.gather(residual, order.rows))
    # Equal functions would be shared, but each layer has a program function of its own; two
    # layers of two functions, or with equal biases, can have the same name.
    own = own_sizes(op)
    function = (
        kind_of(op).expression(own).with_attr(LAYER, f"{len(emission.shared.records)} {layer.name}")
    )
    gv = emission.add(function, layer.name)
    placed = emission.shared.migration.get(layer.number, "")
    emission.shared.records[gv.name_hint] = _record(layer, largest(op), packed, order, placed)
    shape = shape_of(layer.root) if shape is None else shape
    normalize = emission.builder_.normalize
    if op.requantize:
        exponents = (op.batch, op.m, op.column_blocks)
        types = [emission.tensor(op.output_shape, "int8"), emission.tensor(exponents, "int8")]
        emission.requantized[layer.number] = emission.call(gv, operands, types, 2)
        # Only dead operators read it: their types must stay right until they are removed.
        return normalize(relax.op.zeros(emission.extents(shape), "float32"))
    (y,) = emission.call(gv, operands, [emission.tensor(op.output_shape, op.output_dtype)])
    if order.rows is not None and not order.folded:
        y = emission.gather(y, np.argsort(order.rows))
    if op.output_shape == shape:
        return y
    return normalize(relax.op.reshape(y, emission.extents(shape)))


def _unpacked(emission: Emission, op: Gemm, packed: Packed) -> list:
    groups, out, inputs = packed.shape
    name = f"unpack_{packed.format}_{groups}x{out}x{inputs}"
    gv = emission.helper(name, lambda: unpack(packed.format, groups, out, inputs))
    segment = relax.const(np.frombuffer(packed.segment, np.uint8).copy())
    scales = (groups, op.groups, out)
    types = [emission.tensor(packed.shape, "int32"), emission.tensor(scales, "float32")]
    decoded = emission.call(gv, [segment], types, 2)
    return decoded[:1] if op.integers else decoded


def _record(
    layer: Layer, op: Gemm, packed: Packed | None, order: Ordering, migration: str
) -> LayerRecord:
    """Return the record of a layer for listings and reports."""
    present = {
        "bias": op.bias,
        "residual": op.residual,
        "clamp": op.clamps,
        "requantize": op.requantize,
    }
    placed = "folded into its readers" if order.folded else "gathered behind"
    work = Work(
        op.batch,
        op.conv_groups,
        op.m,
        op.n,
        op.k,
        op.macs,
        fused=tuple(name for name, has in present.items() if has),
        output_order="" if order.rows is None else placed,
        migration=migration,
    )
    weights = None
    if packed:
        count = int(np.prod(packed.shape))
        bits = round(bits_per_weight(packed.segment, count), 4)
        weights = Weights(count, len(packed.segment), bits, packed.counts, packed.calibration)
    at_run_time = f"int{ACTIVATION_FORMATS[op.activation].bits} at run time"
    return LayerRecord(layer.name, layer.kind, op.weight_format or at_run_time, work, weights)
