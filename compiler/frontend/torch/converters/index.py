"""Reads from places of a tensor given by any number of indices."""

from tvm import relax
from tvm.relax import op

from .registry import arguments, converter, refused


@converter("index.Tensor")
def index(node, importer) -> relax.Var:
    """Read at the places that the indices give together; a dimension may have none.

    Dimensions with an index go to the front, and what was read to where torch puts it: in the place
    of the indices where they stand side by side, else to the front.
    """
    data, indices = arguments(node, importer)
    emit = importer.block_builder.emit
    known = {at: index for at, index in enumerate(indices) if index is not None}
    if any(str(each.ty.dtype) == "bool" for each in known.values()):
        raise refused(
            node, "the size of what a mask selects is known at run time only; allowed: torch.where"
        )
    if len(known) == 1:
        ((at, places),) = known.items()
        return emit(op.take(data, places, axis=at))
    count = data.ty.ndim
    rest = [at for at in range(count) if at not in known]
    order = [*known, *rest]
    front = data if order == sorted(order) else emit(op.permute_dims(data, order))
    found = emit(op.index_tensor(front, list(known.values())))
    places = max(each.ty.ndim for each in known.values())
    first = min(known)
    if list(known) != list(range(first, first + len(known))) or first == 0:
        return found
    moved = [*range(places, places + first), *range(places)]
    return emit(op.permute_dims(found, [*moved, *range(len(moved), places + len(rest))]))
