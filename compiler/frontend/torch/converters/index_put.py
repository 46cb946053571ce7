"""Writes to places of a tensor given by any number of indices."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .registry import arguments, converter, refused, shape_at


@converter("index_put.default", "index_put_.default")
def index_put(node, importer) -> relax.Var:
    """Write, or add, values at the places that the indices give; a dimension may have none.

    Dimensions with an index go to the front, where a scatter takes them all at once.
    """
    data, indices, values, accumulate = arguments(node, importer, False)
    shape = shape_at(node, data)
    known = {at: index for at, index in enumerate(indices) if index is not None}
    if any(str(index.ty.dtype) == "bool" for index in known.values()):
        return _masked(node, importer, data, indices, values, accumulate)
    emit = importer.block_builder.emit
    places = np.broadcast_shapes(*(shape_at(node, index) for index in known.values()))
    order = [*known, *(at for at in range(len(shape)) if at not in known)]
    stacked = emit(
        op.stack([_index(node, emit, index, places) for index in known.values()], axis=-1)
    )
    written = _values(node, emit, data, values, list(known), places)
    flat = (int(np.prod(places, dtype=int)),)
    rest = [shape[at] for at in order[len(known) :]]
    result = op.scatter_nd(
        _permuted(emit, data, order),
        emit(op.reshape(stacked, (*flat, len(known)))),
        emit(op.reshape(written, (*flat, *rest))),
        "add" if accumulate else "update",
    )
    return _permuted(emit, emit(result), [order.index(at) for at in range(len(shape))])


def _index(node, emit, index, places: tuple[int, ...]) -> relax.Expr:
    wide = emit(op.astype(index, "int64"))
    return wide if shape_at(node, index) == places else emit(op.broadcast_to(wide, places))


def _values(node, emit, data, values, known: list[int], places: tuple[int, ...]) -> relax.Expr:
    """Emit the values in the order ``(*places, *dimensions without an index)``."""
    shape = shape_at(node, data)
    # Where indices stand side by side, their places stand there in the values too, else in front.
    together = known == list(range(known[0], known[0] + len(known)))
    lead = known[0] if together else 0
    rest = [shape[at] for at in range(len(shape)) if at not in known]
    full = (*rest[:lead], *places, *rest[lead:])
    if str(values.ty.dtype) != str(data.ty.dtype):
        values = emit(op.astype(values, str(data.ty.dtype)))
    if shape_at(node, values) != full:
        values = emit(op.broadcast_to(values, full))
    middle = range(lead, lead + len(places))
    return _permuted(emit, values, [*middle, *(at for at in range(len(full)) if at not in middle)])


def _permuted(emit, value, order: list[int]) -> relax.Expr:
    return value if order == sorted(order) else emit(op.permute_dims(value, order))


def _masked(node, importer, data, indices, values, accumulate) -> relax.Var:
    """Write one value wherever a mask of the data's first dimensions says so."""
    emit = importer.block_builder.emit
    shape, mask = shape_at(node, data), indices[0]
    single = int(np.prod(shape_at(node, values), dtype=int)) == 1
    if len(indices) != 1 or mask is None or not single or accumulate:
        raise refused(node, "allowed with a mask: one mask, and one value that replaces")
    trailing = (1,) * (len(shape) - len(shape_at(node, mask)))
    mask = emit(op.reshape(mask, (*shape_at(node, mask), *trailing)))
    value = emit(op.astype(emit(op.reshape(values, ())), str(data.ty.dtype)))
    return emit(op.where(mask, value, data))
