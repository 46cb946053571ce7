"""Several weights as the blocks of one block-diagonal weight, which multiplies as they do.

Each block keeps its slots and its scales; what is between them is slots of 0, which no scale and no
outlier bears on. So sums of products are those of the blocks, whatever else a row holds.
"""

from collections.abc import Sequence

from .formats import MACRO_BLOCK, MICRO_BLOCK
from .weight import QuantizedWeight, empty


def block_diagonal(weights: Sequence[QuantizedWeight]) -> QuantizedWeight | None:
    """Return a weight ``(count * out, count * in)`` of equal shapes, None where it can't be.

    It can't be over more than one macro-block or group, whose scales blocks would share; where a
    block ends within a cluster or a pair; where one with outliers ends within a micro-block; and
    of formats with a factor for the whole tensor, or without a 0.
    """
    first, count = weights[0], len(weights)
    out, inputs = first.slots.shape
    row = first.row
    if out * count > MACRO_BLOCK or inputs * count > row.group or row.cluster:
        return None
    if row.pairs and inputs % 2:
        return None
    # A factor is one for all panels of a tensor; and between blocks there must be something.
    if first.factor is not None or 0 not in row.values:
        return None
    whole = empty(first.format, out * count, inputs * count)
    for number, weight in enumerate(weights):
        rows, columns = _part(number, out), _part(number, inputs)
        whole.slots[rows, columns] = weight.slots
        if row.column_scale is not None:
            whole.part("scale")[:, rows] = weight.part("scale")
        else:
            whole.part("isf")[:, columns] = weight.part("isf")
        if row.has_outliers and (weight.part("relative_exponent") >= 0).any():
            if out % MICRO_BLOCK:
                return None
            micro = _part(number, out // MICRO_BLOCK)
            whole.part("relative_exponent")[micro, columns] = weight.part("relative_exponent")
            whole.part("pairs")[micro, columns] = weight.part("pairs")
    return whole


def _part(number: int, size: int) -> slice:
    return slice(number * size, (number + 1) * size)
