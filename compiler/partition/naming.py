"""What layers are called: by their parameters in the source, found by content."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from ..names import Names, digest
from .constraints import ANCHORS
from .dequantized import weights
from .graph import Graph, op_name
from .layer import Layer

PARAMETRIZED = re.compile(r"\.parametrizations(\.weight)\.original\d*$")
"""How torch calls what a weight is computed from."""


class Naming:
    """Gives the layers of one function their names, in the order of the function.

    Layers of equal weights have the names of the parameters that hold these, each its own. Where
    fewer layers than parameters hold a value, it's the later ones: a head that shares its weight
    with the embedding is the head.
    """

    def __init__(self, graph: Graph, names: Names):
        self.graph, self.names = graph, names
        self.kinds: Counter[str] = Counter()
        self.keys: dict[int, str] = {}
        for _, call in graph.order:
            if op_name(call) in ANCHORS:
                key = self._key(graph.constant(call.args[1], copy=False))
                self.keys |= {hash(call): key} if key else {}
        self.layers, self.named = Counter(self.keys.values()), Counter[str]()

    def __call__(self, layer: Layer) -> str:
        """Return the name of the next layer: of its weight, else of its bias, else a number."""
        found = self._of_weight(layer) or self._of_parts(layer)
        name = found or f"{layer.kind}{self.kinds[layer.kind]}"
        self.kinds[layer.kind] += 1
        return name

    def _key(self, weight: np.ndarray | None) -> str:
        """Return the digest by which a weight has names, whichever way round the source had it."""
        for value in () if weight is None else (weight, weight.T):
            key = digest(value)
            if any("." in name for name in self.names.get(key, ())):
                return key
        return ""

    def _of_weight(self, layer: Layer) -> str:
        key = self.keys.get(hash(layer.call))
        if key is None:
            return ""
        found = [name for name in self.names[key] if "." in name]
        at = max(0, len(found) - self.layers[key]) + self.named[key]
        self.named[key] += 1
        return _module(found[min(at, len(found) - 1)])

    def _of_parts(self, layer: Layer) -> str:
        for value in _parts(self.graph, layer):
            for name in reversed(self.names.get(digest(value), ())):
                if "." in name:
                    return _module(name)
        return ""


def _module(name: str) -> str:
    """Return what a parameter belongs to."""
    found = PARAMETRIZED.sub(r"\1", name.removesuffix("_quantized"))
    return found.removesuffix(".weight").removesuffix(".bias")


def _parts(graph: Graph, layer: Layer) -> Iterator[np.ndarray]:
    """Yield the constants that a layer can be named by, beside its operand."""
    values = (layer.weight, layer.integers, layer.bias)
    yield from (value for value in values if value is not None)
    if layer.integers is not None:
        # Products take unsigned codes as signed ones, 128 lower.
        yield from (value.view(np.uint8) ^ 128 for value in (layer.integers, layer.integers.T))
    codes = weights(graph.value, layer.call.args[1])
    if codes is not None:
        yield from (codes.codes, codes.codes.T)
