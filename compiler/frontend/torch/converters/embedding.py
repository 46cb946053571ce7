"""Rows of a table by number, and sums, means or largest of them by bag."""

from tvm import relax
from tvm.relax import op

from ...indices import checked
from .registry import NAME, arguments, converter, refused, shape_at

SUM, MEAN, MAX = range(3)
"""Modes of an embedding bag, as ATen numbers them."""


def rows(node, importer, table, ids) -> relax.Var:
    """Emit the rows of a table by number; unlike a Python index, none may be negative."""
    source, where = node.args[0], node.args[1]
    name = source.meta.get(NAME, source.name)
    given = f", from input '{where.name}'" if where.op == "placeholder" else ""
    emit = importer.block_builder.emit
    size = shape_at(node, table)[0]
    right = checked(
        importer.block_builder, ids, [size], f"an index into '{name}'{given},", negative=False
    )
    return emit(op.take(table, right, axis=0))


@converter("embedding.default")
def embedding(node, importer) -> relax.Var:
    table, ids, *_ = arguments(node, importer)
    return rows(node, importer, table, ids)


@converter("_embedding_bag.default", "_embedding_bag_forward_only.default")
def embedding_bag(node, importer) -> relax.Tuple:
    """Convert a bag's first result; the others are for gradients."""
    used = {user.args[1] for user in node.users}
    if used - {0}:
        raise refused(node, "only the first of its results can be used")
    table, ids, offsets, _, mode, _, weights, last, padding = arguments(
        node, importer, False, SUM, False, None, False, -1
    )
    emit = importer.block_builder.emit
    (count,), width = shape_at(node, ids), shape_at(node, table)[1]
    (bags,) = shape_at(node, offsets)
    bags -= bool(last)
    taken = emit(op.reshape(rows(node, importer, table, ids), (1, count, width)))
    inside = _members(importer, offsets, count, bags, bool(last))
    if padding is not None and padding >= 0:
        kept = emit(op.not_equal(ids, relax.const(padding, str(ids.ty.dtype))))
        inside = emit(op.logical_and(inside, emit(op.reshape(kept, (1, count)))))
    member = emit(op.reshape(inside, (bags, count, 1)))
    sizes = emit(op.sum(emit(op.astype(member, "float32")), axis=[1]))
    if mode == MAX:
        low = relax.const(float("-inf"), "float32")
        largest = emit(op.max(emit(op.where(member, taken, low)), axis=[1]))
        filled = emit(op.greater(sizes, relax.const(0.0, "float32")))
        return relax.Tuple([emit(op.where(filled, largest, relax.const(0.0, "float32")))])
    factor = emit(op.astype(member, "float32"))
    if weights is not None:
        factor = emit(op.multiply(factor, emit(op.reshape(weights, (1, count, 1)))))
    total = emit(op.sum(emit(op.multiply(factor, taken)), axis=[1]))
    if mode == MEAN:
        total = emit(op.divide(total, emit(op.maximum(sizes, relax.const(1.0, "float32")))))
    return relax.Tuple([total])


def _members(importer, offsets, count: int, bags: int, last: bool) -> relax.Var:
    """Emit which rows a bag has: a bool for each bag and row."""
    emit = importer.block_builder.emit
    dtype = str(offsets.ty.dtype)
    place = relax.const(list(range(count)), dtype)
    start = emit(op.strided_slice(offsets, [0], [0], [bags]))
    if last:
        end = emit(op.strided_slice(offsets, [0], [1], [bags + 1]))
    else:
        rest = [emit(op.strided_slice(offsets, [0], [1], [bags]))] if bags > 1 else []
        end = emit(op.concat([*rest, relax.const([count], dtype)], axis=0))
    after = emit(op.greater_equal(place, emit(op.reshape(start, (bags, 1)))))
    before = emit(op.less(place, emit(op.reshape(end, (bags, 1)))))
    return emit(op.logical_and(after, before))
