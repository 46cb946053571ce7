"""Which format each layer's activations get from a recipe, by the roles that its input has."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import tvm

from ..partition.graph import Graph
from ..partition.layer import Layer, Partition
from ..partition.partition import Partitions
from ..partition.roles import roles
from ..quant.recipe import Recipe


@dataclass(frozen=True)
class Activations:
    """Rows of the activation-format registry.

    Attributes
    ----------
    default : str
        The recipe's, of layers whose input has no role that it names.
    inputs : mapping of int to str
        Of what other layers read, by their numbers.
    """

    default: str
    inputs: Mapping[int, str] = field(default_factory=dict)

    def of(self, layer: Layer) -> str:
        """Return the format of what a layer reads."""
        return self.inputs.get(layer.number, self.default)


def chosen_activations(
    mod: tvm.IRModule, parts: Partitions, recipe: Recipe
) -> tuple[Activations, Partitions]:
    """Return a recipe's formats for the layers of a module, and the partitions.

    A layer's result leaves as codes only in the format that the layer reads, because a machine may
    not multiply by wider ones: its readers quantize it themselves where theirs is another.
    """
    if not recipe.activations:
        return Activations(recipe.activation), parts
    inputs: dict[int, str] = {}
    for gv, part in parts.items():
        graph = Graph(mod[gv])
        inputs |= {row.number: recipe.activation_of(roles(graph, row)) for row in part.layers}
    return Activations(recipe.activation, inputs), {
        gv: _with_sources(part, inputs) for gv, part in parts.items()
    }


def _with_sources(part: Partition, inputs: Mapping[int, str]) -> Partition:
    """Return a partition in which codes go from layer to layer in one format only."""
    other = {
        row.source
        for row in part.layers
        if row.source is not None and inputs[row.source] != inputs[row.number]
    }
    layers = tuple(
        replace(
            row,
            requantize=row.requantize and row.number not in other,
            source=None if row.source in other else row.source,
        )
        for row in part.layers
    )
    return replace(part, layers=layers)
