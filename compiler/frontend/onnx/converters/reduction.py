"""Reductions: also of tensors without elements, of bools, and along no axis at all."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tvm import relax, te, tirx, topi

from . import converter
from .values import const, constant, dtype_of, given, sizes_of

Op = Callable[..., relax.Expr]


def _stable_log_sum_exp(builder, x, axes):
    dtype = dtype_of(x)
    top = builder.emit(relax.op.max(x, axes, True))
    # Of minus infinity alone, x - top would be no number.
    top = builder.emit(relax.op.where(relax.op.isfinite(top), top, const(0, dtype)))
    total = relax.op.sum(relax.op.exp(relax.op.subtract(x, top)), axes, True)
    return relax.op.add(relax.op.log(total), top)


def _sum_of(first: Callable, then: Callable) -> Op:
    def reduce(_builder, x, axes):
        return then(relax.op.sum(first(x), axes, True))

    return reduce


def _larger(a, b):
    # A reducer's function has two arguments, TVM's own three.
    return tirx.max(a, b)


def _smaller(a, b):
    return tirx.min(a, b)


def _extreme(op: Callable, combine: Callable, start: float) -> Op:
    def of_floats(x, axes):
        shape = topi.utils.get_const_tuple(x.shape)
        # TVM's own starts at the last finite number, and gives it for infinities alone.
        reducer = te.comm_reducer(combine, lambda dtype: tirx.const(start, dtype))
        along = {axis: te.reduce_axis((0, shape[axis])) for axis in axes}
        return te.compute(
            [1 if axis in along else size for axis, size in enumerate(shape)],
            lambda *i: reducer(
                x(*(along.get(axis, place) for axis, place in enumerate(i))),
                axis=list(along.values()),
            ),
            name="extreme",
        )

    def reduce(builder, x, axes):
        if dtype_of(x) in ("float32", "float64"):
            return builder.emit_te(lambda tensor: of_floats(tensor, axes), x)
        if dtype_of(x) != "bool":
            return op(x, axes, True)
        # LLVM has no extreme of bools.
        found = builder.emit(op(relax.op.astype(x, "int8"), axes, True))
        return relax.op.astype(found, "bool")

    return reduce


def _plain(op: Callable) -> Op:
    return lambda _builder, x, axes: op(x, axes, True)


def _same(x):
    return x


def _square(x):
    return relax.op.multiply(x, x)


class Reduction(NamedTuple):
    """How to reduce along axes that stay with size 1, and what nothing reduces to."""

    op: Op
    of_nothing: Callable[[str], float]


def _lowest(dtype: str) -> float:
    return -np.inf if "float" in dtype else _bounds(dtype)[0]


def _highest(dtype: str) -> float:
    return np.inf if "float" in dtype else _bounds(dtype)[1]


def _bounds(dtype: str) -> tuple[int, int]:
    return (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


REDUCTIONS = {
    "ReduceL1": Reduction(_sum_of(relax.op.abs, _same), lambda _: 0),
    "ReduceL2": Reduction(_sum_of(_square, relax.op.sqrt), lambda _: 0),
    "ReduceLogSum": Reduction(_sum_of(_same, relax.op.log), lambda _: -np.inf),
    "ReduceLogSumExp": Reduction(_stable_log_sum_exp, lambda _: -np.inf),
    "ReduceMax": Reduction(_extreme(relax.op.max, _larger, -np.inf), _lowest),
    "ReduceMean": Reduction(_plain(relax.op.mean), lambda _: np.nan),
    "ReduceMin": Reduction(_extreme(relax.op.min, _smaller, np.inf), _highest),
    "ReduceProd": Reduction(_plain(relax.op.prod), lambda _: 1),
    "ReduceSum": Reduction(_plain(relax.op.sum), lambda _: 0),
    "ReduceSumSquare": Reduction(_sum_of(_square, _same), lambda _: 0),
}


def _reduce(name, builder, inputs, attributes):
    x = inputs[0]
    shape = sizes_of(x)
    axes = attributes.get("axes", ())
    if given(inputs, 1) is not None:
        axes = constant(inputs[1], name, "its axes").reshape(-1).tolist()
    keep = bool(attributes.get("keepdims", 1))
    numbers = sorted({axis % len(shape) for axis in axes})
    if not numbers and not attributes.get("noop_with_empty_axes"):
        numbers = list(range(len(shape)))
    kept = [1 if axis in numbers else size for axis, size in enumerate(shape)]
    left = kept if keep else [size for axis, size in enumerate(shape) if axis not in numbers]
    row = REDUCTIONS[name]
    if any(isinstance(size, int) and size == 0 for size in shape):
        return const(np.full(left, row.of_nothing(dtype_of(x))), dtype_of(x))
    if not numbers:
        # Each element alone: along an axis of size 1 that is there for it.
        longer = builder.emit(relax.op.reshape(x, (*shape, 1)))
        return relax.op.reshape(builder.emit(row.op(builder, longer, [len(shape)])), left)
    result = builder.emit(row.op(builder, x, numbers))
    return result if keep else relax.op.squeeze(result, numbers)


for _name in REDUCTIONS:

    def _converter(builder, inputs, attributes, _opset, name=_name):
        return _reduce(name, builder, inputs, attributes)

    converter(_name)(_converter)
