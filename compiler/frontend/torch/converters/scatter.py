"""Sums, products and extremes of what is sent to the same place."""

from tvm import relax
from tvm.relax import op

from .registry import arguments, converter, refused, shape_at

REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
"""Relax's names of ATen's."""


def scattered(node, importer, data, dim: int, index, source, reduction: str) -> relax.Var:
    """Emit a scatter; of the source only as much is sent as there are indices."""
    emit = importer.block_builder.emit
    wanted, given = shape_at(node, index), shape_at(node, source)
    if wanted != given:
        axes = list(range(len(given)))
        source = emit(op.strided_slice(source, axes, [0] * len(given), list(wanted)))
    return emit(op.scatter_elements(data, index, source, axis=dim, reduction=reduction))


@converter("scatter_add.default")
def scatter_add(node, importer) -> relax.Var:
    data, dim, index, source = arguments(node, importer)
    return scattered(node, importer, data, dim, index, source, "add")


@converter("scatter_reduce.two")
def scatter_reduce(node, importer) -> relax.Var:
    data, dim, index, source, reduction, include_self = arguments(node, importer, True)
    if reduction not in REDUCTIONS or not include_self:
        raise refused(
            node,
            f"reduce='{reduction}', include_self={include_self}; allowed: "
            f"{', '.join(REDUCTIONS)} with include_self=True",
        )
    return scattered(node, importer, data, dim, index, source, REDUCTIONS[reduction])
