"""Matrix products of other operands than two equal stacks, or one and a constant matrix."""

import itertools
import math

import numpy as np
from tvm import relax

from ...partition.graph import shape_of
from .convolutions import known
from .registry import Making, rewrites

MOST_MATRICES = 256
"""Constant matrices of one stack that become a layer each; a larger one is left as it is."""


@rewrites("matmul")
def matmul(making: Making, call: relax.Call, args: list):
    """Turn constants to the right, split stacks of them, and repeat what broadcasts."""
    if not known(making, call):
        return None
    constants = [making.graph.constant(arg) for arg in call.args]
    shapes = [shape_of(arg) for arg in call.args]
    left, right = constants
    if left is not None and right is not None:
        return _of_constants(left, right)
    if constants[0] is None and _plain(shapes, constants[1] is not None):
        return None
    left, right = _matrices(making, args, constants, shapes)
    found = product(making, left, right)
    if found is None or shape_of(making.builder.normalize(found)) == shape_of(call):
        return found
    return relax.op.reshape(making.emit(found), shape_of(call))


def _of_constants(left: np.ndarray, right: np.ndarray):
    """Return what two constants give, which no call needs to compute."""
    return relax.const((left.astype(np.float64) @ right.astype(np.float64)).astype(np.float32))


def _plain(shapes: list, constant: bool) -> bool:
    """Tell whether the array takes a product as it is."""
    if constant:
        return len(shapes[1]) == 2
    return min(map(len, shapes)) > 1 and shapes[0][:-2] == shapes[1][:-2]


def _matrices(making: Making, args: list, constants: list, shapes: list) -> list:
    """Return operands of two dimensions at least: expressions, arrays where they are constant."""
    found: list = []
    for side, (arg, constant, shape) in enumerate(zip(args, constants, shapes, strict=True)):
        matrix = shape if len(shape) > 1 else (*shape, 1) if side else (1, *shape)
        if constant is not None:
            found.append(constant.reshape(matrix))
        else:
            found.append(making.emit(relax.op.reshape(arg, matrix)) if matrix != shape else arg)
    return found


def product(making: Making, left, right):
    """Return the product of two operands, of which one may be an array; None to leave it."""
    if isinstance(left, np.ndarray):
        # (A x)^T = x^T A^T: what isn't constant gives the rows.
        turned = product(making, making.emit(_swapped(right)), left.swapaxes(-1, -2))
        return None if turned is None else _swapped(making.emit(turned))
    if isinstance(right, np.ndarray):
        return _by_constants(making, left, right)
    return _of_activations(making, left, right)


def _swapped(x):
    axes = list(range(len(shape_of(x))))
    return relax.op.permute_dims(x, [*axes[:-2], axes[-1], axes[-2]])


def _of_activations(making: Making, left, right):
    """Multiply two activations; one matrix for all rows, or copies of what broadcasts."""
    first, second = shape_of(left), shape_of(right)
    if math.prod(second[:-2]) == 1 and len(first) > 2:
        rows = making.emit(relax.op.reshape(left, (math.prod(first[:-1]), first[-1])))
        matrix = making.emit(relax.op.reshape(right, second[-2:]))
        y = making.emit(relax.op.matmul(rows, matrix))
        return relax.op.reshape(y, (*_batch(first, second), first[-2], second[-1]))
    batch = _batch(first, second)
    operands = [
        x if shape[:-2] == batch else making.emit(relax.op.broadcast_to(x, (*batch, *shape[-2:])))
        for x, shape in ((left, first), (right, second))
    ]
    return relax.op.matmul(*operands)


def _batch(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(np.broadcast_shapes(*(shape[:-2] for shape in shapes)))


def _by_constants(making: Making, x, stack: np.ndarray):
    """Multiply by each matrix of a constant stack what it is for: a layer for each that differs."""
    shape = shape_of(x)
    if stack.ndim == 3 and len(shape) == 3 and (period := _period(stack)) < len(stack):
        # Exporters repeat a stack for each sample, and make one batch of both.
        again = (len(stack) // period, period)
        whole = making.emit(
            relax.op.reshape(_repeated(making, x, len(stack)), (*again, *shape[1:]))
        )
        y = making.emit(_by_constants(making, whole, stack[:period]))
        return relax.op.reshape(y, (len(stack), shape[1], stack.shape[2]))
    batch = _batch(shape, stack.shape)
    lead = (1,) * (len(batch) - len(shape) + 2) + shape[:-2]
    matrices = _distinct(stack.reshape((1,) * (len(batch) + 2 - stack.ndim) + stack.shape))
    # Dimensions along which the matrices differ; along all others there are only more rows.
    apart = [axis for axis, size in enumerate(matrices.shape[:-2]) if size > 1]
    sizes = [matrices.shape[axis] for axis in apart]
    if math.prod(sizes) > MOST_MATRICES:
        return _of_activations(making, x, relax.const(np.ascontiguousarray(stack)))
    rest = [axis for axis in range(len(batch)) if axis not in apart]
    if lead != shape[:-2]:
        x = making.emit(relax.op.reshape(x, (*lead, *shape[-2:])))
    results = []
    for index in itertools.product(*map(range, sizes)):
        here = dict(zip(apart, index, strict=True))
        part = _part(making, x, lead, here)
        matrix = matrices[tuple(here.get(axis, 0) for axis in range(len(batch)))]
        product = relax.op.matmul(part, making.constant(matrix, stack))
        results.append(making.emit(product))
    # The batch has no other dimensions than x where the stack repeats.
    kept = [lead[axis] for axis in rest]
    tail = (shape[-2], stack.shape[-1])
    y = results[0]
    if apart:
        y = making.emit(relax.op.stack(results, axis=0))
        y = making.emit(relax.op.reshape(y, (*sizes, *kept, *tail)))
        back = np.argsort([*apart, *rest]).tolist()
        y = making.emit(relax.op.permute_dims(y, [*back, len(batch), len(batch) + 1]))
    repeated = [lead[axis] < batch[axis] and axis in rest for axis in range(len(batch))]
    full = (*batch, *tail)
    if not any(repeated):
        return relax.op.reshape(y, full)
    once = [matrices.shape[a] if a in apart else lead[a] for a in range(len(batch))]
    return relax.op.broadcast_to(making.emit(relax.op.reshape(y, (*once, *tail))), full)


def _period(stack: np.ndarray) -> int:
    """Return after how many matrices a stack repeats itself, all of them if it doesn't."""
    count = len(stack)
    return next(
        each
        for each in range(1, count + 1)
        if count % each == 0 and (stack[each:] == stack[: count - each]).all()
    )


def _repeated(making: Making, x, count: int):
    """Return a stack of `count` matrices of a stack of as many or of one."""
    shape = shape_of(x)
    return x if shape[0] == count else making.emit(relax.op.broadcast_to(x, (count, *shape[1:])))


def _distinct(stack: np.ndarray) -> np.ndarray:
    """Return a stack with 1 matrix along each dimension in which all are the same."""
    for axis in range(stack.ndim - 2):
        first = stack.take([0], axis)
        if stack.shape[axis] > 1 and (stack == first).all():
            stack = first
    return stack


def _part(making: Making, x, lead: tuple[int, ...], index: dict[int, int]):
    """Return what one matrix multiplies, without the dimensions that tell matrices apart."""
    cut = [axis for axis in index if lead[axis] > 1]
    if cut:
        begin = [index[axis] for axis in cut]
        x = making.emit(relax.op.strided_slice(x, cut, begin, [at + 1 for at in begin]))
    kept = [size for axis, size in enumerate(lead) if axis not in index]
    return making.emit(relax.op.reshape(x, (*kept, *shape_of(x)[-2:])))
