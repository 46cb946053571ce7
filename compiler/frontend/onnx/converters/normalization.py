"""Normalizations with results or axes that TVM's converters don't have."""

from tvm import relax

from .....target.errors import UnsupportedError
from . import converter
from .theirs import by_tvm
from .values import const, dtype_of, given, rank_of


@converter("LayerNormalization")
def _layer_normalization(builder, inputs, attributes, opset):
    if attributes["tvm_custom"]["num_outputs"] == 1:
        return by_tvm("LayerNormalization", builder, inputs, attributes, opset)
    x, scale, bias = inputs[0], inputs[1], given(inputs, 2)
    rank, dtype = rank_of(x), dtype_of(x)
    axes = list(range(attributes.get("axis", -1) % rank, rank))
    wide = x if dtype == "float64" else builder.emit(relax.op.astype(x, "float32"))
    mean = builder.emit(relax.op.mean(wide, axes, True))
    centered = builder.emit(relax.op.subtract(wide, mean))
    variance = builder.emit(relax.op.mean(relax.op.multiply(centered, centered), axes, True))
    epsilon = const(attributes.get("epsilon", 1e-5), dtype_of(wide))
    inverse = builder.emit(relax.op.rsqrt(relax.op.add(variance, epsilon)))
    normal = relax.op.astype(builder.emit(relax.op.multiply(centered, inverse)), dtype)
    result = builder.emit(relax.op.multiply(builder.emit(normal), scale))
    if bias is not None:
        result = builder.emit(relax.op.add(result, bias))
    return relax.Tuple([result, mean, inverse])


@converter("RMSNormalization")
def _rms_normalization(builder, inputs, attributes, _opset):
    x, scale = inputs
    rank, dtype = rank_of(x), dtype_of(x)
    axes = list(range(attributes.get("axis", -1) % rank, rank))
    wide = x if dtype == "float64" else builder.emit(relax.op.astype(x, "float32"))
    squares = builder.emit(relax.op.mean(relax.op.multiply(wide, wide), axes, True))
    epsilon = const(attributes.get("epsilon", 1e-5), dtype_of(wide))
    inverse = builder.emit(relax.op.rsqrt(relax.op.add(squares, epsilon)))
    normal = builder.emit(relax.op.astype(relax.op.multiply(wide, inverse), dtype))
    return relax.op.multiply(normal, scale)


@converter("LpNormalization")
def _lp_normalization(builder, inputs, attributes, _opset):
    (x,) = inputs
    axis, p = attributes.get("axis", -1), attributes.get("p", 2)
    if p not in (1, 2):
        raise UnsupportedError(f"LpNormalization: p = {p}; allowed: 1, 2")
    if p == 1:
        norm = builder.emit(relax.op.sum(relax.op.abs(x), axis, True))
    else:
        norm = builder.emit(relax.op.sqrt(relax.op.sum(relax.op.multiply(x, x), axis, True)))
    zero = const(0, dtype_of(x))
    share = relax.op.divide(x, norm)
    return relax.op.where(relax.op.equal(norm, zero), zero, builder.emit(share))


@converter("BatchNormalization")
def _batch_normalization(builder, inputs, attributes, opset):
    if not attributes.get("training_mode", 0):
        return by_tvm("BatchNormalization", builder, inputs, attributes, opset)
    x, scale, bias, mean, variance = inputs
    rank, momentum = rank_of(x), attributes.get("momentum", 0.9)
    axes = [axis for axis in range(rank) if axis != 1]
    found = builder.emit(relax.op.mean(x, axes, True))
    centered = builder.emit(relax.op.subtract(x, found))
    spread = builder.emit(relax.op.mean(relax.op.multiply(centered, centered), axes, True))
    epsilon = const(attributes.get("epsilon", 1e-5), dtype_of(x))
    inverse = builder.emit(relax.op.rsqrt(relax.op.add(spread, epsilon)))
    normal = builder.emit(relax.op.multiply(centered, inverse))
    shape = [1, -1] + [1] * (rank - 2)
    result = builder.emit(relax.op.multiply(normal, builder.emit(relax.op.reshape(scale, shape))))
    result = builder.emit(relax.op.add(result, builder.emit(relax.op.reshape(bias, shape))))
    running = []
    for old, new in ((mean, found), (variance, spread)):
        share = relax.op.multiply(old, const(momentum, dtype_of(old)))
        now = builder.emit(relax.op.astype(relax.op.reshape(new, [-1]), dtype_of(old)))
        rest = relax.op.multiply(now, const(1 - momentum, dtype_of(old)))
        running.append(builder.emit(relax.op.add(share, rest)))
    return relax.Tuple([result, *running])
