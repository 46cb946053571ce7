"""Fourier transforms and sums of blocks: by matrices and places that are known while compiling.

A transform is summed on the host: in products of 8 bits a spectrum would drown in noise.
"""

import math

import numpy as np
from tvm import relax, te, topi

from .....target.errors import UnsupportedError
from . import converter
from .values import const, constant, dtype_of, given, shape_of


def _sums(x, matrix):
    """Multiply rows (rows, entries) with a matrix (entries, results)."""
    entries = te.reduce_axis((0, matrix.shape[0]), name="n")
    shape = (*topi.utils.get_const_tuple(x.shape)[:1], matrix.shape[1])
    return te.compute(
        shape, lambda row, k: te.sum(x[row, entries] * matrix[entries, k], axis=entries), name="dft"
    )


def transform(length: int, width: int, inverse: bool, one_sided: bool) -> np.ndarray:
    """Return the matrix from (entry, part) of the input to (entry, part) of the result.

    Parameters
    ----------
    width : int
        Parts of an entry: 1 of real ones, 2 of complex ones.
    one_sided : bool
        Only the first half of a spectrum is given back; or given, to an inverse of real results.

    Returns
    -------
    numpy.ndarray
        float64 ``(entries, width, results, parts)``.
    """
    half = length // 2 + 1
    if inverse and one_sided:
        # The half that is missing is the mirror image of the other.
        weights = np.where((np.arange(half) == 0) | (2 * np.arange(half) == length), 1, 2)
        angles = 2 * np.pi * np.outer(np.arange(half), np.arange(length)) / length
        parts = np.stack([np.cos(angles), -np.sin(angles)], 1) * weights[:, None, None]
        return parts[..., None] / length
    results = half if one_sided else length
    sign = 1 if inverse else -1
    angles = sign * 2 * np.pi * np.outer(np.arange(length), np.arange(results)) / length
    real = np.stack([np.cos(angles), np.sin(angles)], -1)
    imaginary = np.stack([-np.sin(angles), np.cos(angles)], -1)
    both = np.stack([real, imaginary], 1) / (length if inverse else 1)
    return both[:, :width]


@converter("DFT")
def _dft(builder, inputs, attributes, opset):
    x = inputs[0]
    shape, dtype = shape_of(x), dtype_of(x)
    axis = attributes.get("axis", 1)
    if given(inputs, 2) is not None:
        axis = int(constant(inputs[2], "DFT", "its axis").reshape(-1)[0])
    elif opset >= 20:
        axis = -2
    axis %= len(shape)
    inverse, one_sided = bool(attributes.get("inverse", 0)), bool(attributes.get("onesided", 0))
    length = shape[axis]
    if inverse and one_sided:
        length = 2 * (length - 1)
    if given(inputs, 1) is not None:
        length = int(constant(inputs[1], "DFT", "its length").reshape(-1)[0])
    matrix = transform(length, shape[-1], inverse, one_sided)
    entries, width, results, parts = matrix.shape
    others = [each for each in range(len(shape) - 1) if each != axis]
    rows = builder.emit(relax.op.permute_dims(x, [*others, axis, len(shape) - 1]))
    sizes = [shape[each] for each in others]
    count = math.prod(sizes)
    rows = builder.emit(relax.op.reshape(rows, (count, shape[axis], width)))
    if shape[axis] > entries:
        rows = builder.emit(relax.op.strided_slice(rows, [1], [0], [entries]))
    elif shape[axis] < entries:
        matrix = matrix[: shape[axis]]
    # In fp64, as a transform of n log n steps loses less than these sums.
    flat = builder.emit(relax.op.reshape(rows, (count, matrix.shape[0] * width)))
    flat = builder.emit(relax.op.astype(flat, "float64"))
    spectrum = builder.emit_te(
        _sums, flat, const(matrix.reshape(matrix.shape[0] * width, results * parts), "float64")
    )
    spectrum = builder.emit(relax.op.reshape(spectrum, (*sizes, results, parts)))
    spectrum = builder.emit(relax.op.astype(spectrum, dtype))
    back = np.argsort([*others, axis, len(shape) - 1]).tolist()
    return relax.op.permute_dims(spectrum, back)


@converter("Col2Im")
def _columns_to_image(builder, inputs, attributes, _opset):
    x = inputs[0]
    image = constant(inputs[1], "Col2Im", "its image's shape").tolist()
    block = constant(inputs[2], "Col2Im", "its block's shape").tolist()
    rank = len(image)
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * (2 * rank))
    batch, rows, columns = shape_of(x)
    channels = rows // math.prod(block)
    counts = [
        (image[a] + pads[a] + pads[rank + a] - dilations[a] * (block[a] - 1) - 1) // strides[a] + 1
        for a in range(rank)
    ]
    if math.prod(counts) != columns or channels * math.prod(block) != rows:
        raise UnsupportedError(
            f"Col2Im: {rows} rows and {columns} columns for blocks of {block} in {image}"
        )
    flat = builder.emit(relax.op.reshape(x, (batch, channels, math.prod(block) * columns)))
    total = None
    for number, offset in enumerate(np.ndindex(*block)):
        # Which column has this entry of its block at each place of the image, if any.
        places, inside = np.zeros(1, np.int64), np.ones(1, bool)
        for a in range(rank):
            first = np.arange(image[a]) + pads[a] - offset[a] * dilations[a]
            column, rest = np.divmod(first, strides[a])
            fits = (rest == 0) & (column >= 0) & (column < counts[a])
            places = (places[:, None] * counts[a] + np.where(fits, column, 0)).reshape(-1)
            inside = (inside[:, None] & fits).reshape(-1)
        index = const(number * columns + places * inside, "int64")
        part = builder.emit(relax.op.take(flat, index, axis=2))
        part = builder.emit(relax.op.multiply(part, const(inside, dtype_of(x))))
        total = part if total is None else builder.emit(relax.op.add(total, part))
    return relax.op.reshape(total, (batch, channels, *image))
