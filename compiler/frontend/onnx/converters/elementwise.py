"""Operators of elements: those of mixed types, and at the edges of their ranges."""

import math

import numpy as np
import tvm
from tvm import relax, te, topi

from .....target.errors import UnsupportedError
from ....partition.graph import static_shape
from . import converter
from .theirs import by_tvm
from .values import const, constant, dtype_of, given, known, rank_of, shape_of, sizes_of


def _is_float(dtype: str) -> bool:
    return "float" in dtype


def _wide(builder, x):
    """Return a tensor in fp32, or in fp64 if it is: what has few bits isn't computed in them."""
    return x if dtype_of(x) == "float64" else builder.emit(relax.op.astype(x, "float32"))


@converter("Pow")
def _pow(builder, inputs, attributes, opset):
    base, exponent = inputs
    dtype, other = dtype_of(base), dtype_of(exponent)
    if dtype == other and _is_float(dtype):
        return by_tvm("Pow", builder, inputs, attributes, opset)
    # The result has the base's type; what isn't a float is computed as one that holds it.
    wide = dtype if _is_float(dtype) else "float64"
    parts = [builder.emit(relax.op.astype(each, wide)) for each in inputs]
    power = builder.emit(relax.op.power(*parts))
    return power if wide == dtype else relax.op.astype(relax.op.round(power), dtype)


def _remainder(a, b):
    """The remainder of a division whose quotient is cut, as C's fmod gives it."""
    shape = topi.utils.get_const_tuple(a.shape)
    dtype = str(a.dtype)
    function = "fmod" if dtype == "float64" else "fmodf"
    return te.compute(
        shape, lambda *i: tvm.tirx.call_pure_extern(dtype, function, a(*i), b(*i)), name="fmod"
    )


@converter("Mod")
def _mod(builder, inputs, attributes, opset):
    dtype = dtype_of(inputs[0])
    if not _is_float(dtype):
        return by_tvm("Mod", builder, inputs, attributes, opset)
    shape = np.broadcast_shapes(*map(shape_of, inputs))
    wide = "float64" if dtype == "float64" else "float32"
    a, b = (
        builder.emit(relax.op.broadcast_to(relax.op.astype(each, wide), shape)) for each in inputs
    )
    cut = builder.emit_te(_remainder, a, b)
    if not attributes.get("fmod", 0):
        # A remainder of the divisor's sign, where it isn't zero.
        zero = const(0, wide)
        differs = relax.op.logical_xor(relax.op.less(cut, zero), relax.op.less(b, zero))
        turned = relax.op.logical_and(differs, relax.op.not_equal(cut, zero))
        moved = builder.emit(relax.op.add(cut, b))
        cut = builder.emit(relax.op.where(builder.emit(turned), moved, cut))
    return relax.op.astype(cut, dtype)


@converter("IsInf")
def _is_inf(builder, inputs, attributes, _opset):
    (x,) = inputs
    infinite, zero = builder.emit(relax.op.isinf(x)), const(0, dtype_of(x))
    if not attributes.get("detect_negative", 1):
        infinite = relax.op.logical_and(infinite, relax.op.greater(x, zero))
    if not attributes.get("detect_positive", 1):
        infinite = relax.op.logical_and(infinite, relax.op.less(x, zero))
    return infinite


@converter("Mish")
def _mish(builder, inputs, _attributes, _opset):
    (x,) = inputs
    dtype = dtype_of(x)
    wide = _wide(builder, x)
    # tanh(log(1 + u)) = n / (n + 2) for n = u (u + 2): it cancels nowhere. Beyond 20 it is 1.
    u = builder.emit(relax.op.exp(relax.op.minimum(wide, const(20, dtype_of(wide)))))
    two = const(2, dtype_of(wide))
    n = builder.emit(relax.op.multiply(u, relax.op.add(u, two)))
    share = builder.emit(relax.op.divide(n, relax.op.add(n, two)))
    return relax.op.astype(builder.emit(relax.op.multiply(wide, share)), dtype)


@converter("Celu")
def _celu(builder, inputs, attributes, _opset):
    wide = _wide(builder, inputs[0])
    dtype = dtype_of(wide)
    alpha, zero = const(np.float32(attributes.get("alpha", 1.0)), dtype), const(0, dtype)
    below = relax.op.subtract(relax.op.exp(relax.op.divide(wide, alpha)), const(1, dtype))
    low = relax.op.minimum(zero, relax.op.multiply(alpha, builder.emit(below)))
    result = builder.emit(relax.op.add(relax.op.maximum(zero, wide), builder.emit(low)))
    return relax.op.astype(result, dtype_of(inputs[0]))


@converter("Swish")
def _swish(builder, inputs, attributes, _opset):
    (x,) = inputs
    alpha = const(np.float32(attributes.get("alpha", 1.0)), dtype_of(x))
    return relax.op.multiply(x, builder.emit(relax.op.sigmoid(relax.op.multiply(x, alpha))))


@converter("Dropout")
def _dropout(_builder, inputs, attributes, _opset):
    x = inputs[0]
    training, ratio = known(given(inputs, 2)), known(given(inputs, 1))
    if given(inputs, 2) is not None and training is None:
        raise UnsupportedError("Dropout: whether it is trained must be known while compiling")
    if training is not None and training.any() and (ratio is None or ratio.any()):
        raise UnsupportedError("Dropout: training drops at random; programs are for inference")
    if attributes["tvm_custom"]["num_outputs"] == 1:
        return x
    return relax.Tuple([x, const(np.ones(shape_of(x)), "bool")])


@converter("OneHot")
def _one_hot(builder, inputs, attributes, _opset):
    indices, depth, values = inputs
    count = int(constant(depth, "OneHot", "its depth").reshape(-1)[0])
    rank = rank_of(indices)
    axis = attributes.get("axis", -1) % (rank + 1)
    if _is_float(dtype_of(indices)):
        indices = builder.emit(relax.op.astype(indices, "int64"))
    dtype = dtype_of(indices)
    moved = builder.emit(relax.op.add(indices, const(count, dtype)))
    negative = builder.emit(relax.op.less(indices, const(0, dtype)))
    places = builder.emit(relax.op.where(negative, moved, indices))
    row = np.arange(count).reshape([-1 if each == axis else 1 for each in range(rank + 1)])
    hot = relax.op.equal(relax.op.expand_dims(places, axis), const(row, dtype))
    off, on = (
        builder.emit(relax.op.take(values, const(place, "int64"), axis=0)) for place in (0, 1)
    )
    return relax.op.where(builder.emit(hot), on, off)


@converter("EyeLike")
def _eye_like(_builder, inputs, attributes, _opset):
    import onnx

    rows, columns = shape_of(inputs[0])
    dtype = dtype_of(inputs[0])
    if "dtype" in attributes:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(attributes["dtype"]).name
    return const(np.eye(rows, columns, attributes.get("k", 0)), dtype)


@converter("BitCast")
def _bit_cast(builder, inputs, attributes, _opset):
    import onnx

    (x,) = inputs
    dtype = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]).name
    if dtype == dtype_of(x):
        return x
    if "bool" in (dtype, dtype_of(x)):
        raise UnsupportedError("BitCast: bits of bools; allowed: types of 8, 16, 32 and 64 bits")
    return builder.emit_te(topi.reinterpret, x, dtype)


@converter("CumProd")
def _cumulative_product(builder, inputs, attributes, _opset):
    x = inputs[0]
    axis = int(constant(inputs[1], "CumProd", "its axis").reshape(-1)[0]) % rank_of(x)
    turned = bool(attributes.get("reverse", 0))
    x = builder.emit(relax.op.flip(x, axis)) if turned else x
    result = builder.emit(
        relax.op.cumprod(x, axis, dtype_of(x), bool(attributes.get("exclusive", 0)))
    )
    return relax.op.flip(result, axis) if turned else result


@converter("BitShift")
def _bit_shift(builder, inputs, attributes, opset):
    x, by = inputs
    dtype = dtype_of(x)
    bits = 8 * np.dtype(dtype).itemsize
    shifted = builder.emit(by_tvm("BitShift", builder, [x, by], attributes, opset))
    # Of as many bits as there are, LLVM says nothing; ONNX wants all of them gone.
    if dtype.startswith("u"):
        outside = relax.op.greater_equal(by, const(bits, dtype))
    else:
        outside = relax.op.logical_or(
            relax.op.less(by, const(0, dtype)), relax.op.greater_equal(by, const(bits, dtype))
        )
    gone = const(0, dtype)
    if attributes["direction"] == b"RIGHT" and not dtype.startswith("u"):
        gone = relax.op.where(relax.op.less(x, gone), const(-1, dtype), gone)
    return relax.op.where(builder.emit(outside), builder.emit(gone), shifted)


@converter("Shape")
def _shape(builder, inputs, attributes, opset):
    shape = static_shape(inputs[0])
    if shape is None:
        return by_tvm("Shape", builder, inputs, attributes, opset)
    return const(np.array(shape[attributes.get("start", 0) : attributes.get("end")]), "int64")


@converter("ReverseSequence")
def _reverse_sequence(_builder, inputs, attributes, _opset):
    x, lengths = inputs
    time, batch = attributes.get("time_axis", 0), attributes.get("batch_axis", 1)
    return relax.op.reverse_sequence(x, lengths, time, batch)


@converter("Split")
def _split(builder, inputs, attributes, _opset):
    x = inputs[0]
    shape = sizes_of(x)
    axis = attributes.get("axis", 0) % len(shape)
    if not isinstance(shape[axis], int):
        raise UnsupportedError("Split: what it splits along must be known while compiling")
    sizes = attributes.get("split")
    if given(inputs, 1) is not None:
        sizes = constant(inputs[1], "Split", "its sizes").tolist()
    if not sizes:
        count = attributes["tvm_custom"]["num_outputs"]
        each = math.ceil(shape[axis] / count)
        sizes = [min(each, shape[axis] - each * place) for place in range(count)]
    ends = np.cumsum(sizes)
    if ends[-1] != shape[axis]:
        raise UnsupportedError(f"Split: parts of {sizes} along an axis of {shape[axis]}")
    if len(sizes) == 1:
        return x
    parts = [
        builder.emit(relax.op.strided_slice(x, [axis], [int(end - size)], [int(end)]))
        if size
        else const(np.zeros((*shape[:axis], 0, *shape[axis + 1 :])), dtype_of(x))
        for size, end in zip(sizes, ends, strict=True)
    ]
    return relax.Tuple(parts)
