"""Which format each layer's activations get from a recipe, by the roles that its input has."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import tvm

from ..partition.graph import Graph
from ..partition.layer import Layer
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
    results : mapping of int to str
        By the number of a layer whose result leaves as codes: of its readers, if it's another.
    """

    default: str
    inputs: Mapping[int, str] = field(default_factory=dict)
    results: Mapping[int, str] = field(default_factory=dict)

    def of(self, layer: Layer) -> str:
        """Return the format of what a layer reads."""
        return self.inputs.get(layer.number, self.default)

    def held_by(self, layer: Layer) -> str:
        """Return the format in its operator: of codes that it gives, else of those it reads."""
        if layer.requantize:
            return self.results.get(layer.number, self.default)
        return self.of(layer)


def chosen_activations(mod: tvm.IRModule, parts: Partitions, recipe: Recipe) -> Activations:
    """Return a recipe's formats for the layers of a module."""
    if not recipe.activations:
        return Activations(recipe.activation)
    inputs: dict[int, str] = {}
    results: dict[int, str] = {}
    for gv, part in parts.items():
        graph = Graph(mod[gv])
        for layer in part.layers:
            inputs[layer.number] = recipe.activation_of(roles(graph, layer))
            if layer.source is not None:
                results[layer.source] = inputs[layer.number]
    return Activations(recipe.activation, inputs, results)
