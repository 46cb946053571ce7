"""What passes ask of a graph and do to it."""

import itertools
from collections.abc import Iterator, Mapping

import onnx

OWN = ("", "ai.onnx")
"""Domains of ONNX's own operators."""


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return max((each.version for each in model.opset_import if each.domain in OWN), default=1)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a node has as attributes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def walk(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes, those of inner graphs after the node that has them."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from walk(inner)


def attribute(node: onnx.NodeProto, name: str, default=None):
    """Return the value of an attribute."""
    for each in node.attribute:
        if each.name == name:
            return onnx.helper.get_attribute_value(each)
    return default


def used(node: onnx.NodeProto) -> set[str]:
    """Return what a node reads, with what its inner graphs read of the graphs around them."""
    names = {name for name in node.input if name}
    for inner in subgraphs(node):
        read = {value.name for value in inner.output}.union(*map(used, inner.node))
        names |= read - defined(inner)
    return names


def defined(graph: onnx.GraphProto) -> set[str]:
    """Return the names of a graph's own values, without those of graphs in it."""
    names = {value.name for value in graph.input} | {each.name for each in graph.initializer}
    return names.union(*(node.output for node in graph.node))


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a node whose values have other names, in inner graphs too."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _rename(copy, names)
    return copy


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for inner in subgraphs(node):
        own = defined(inner)
        outer = {old: new for old, new in names.items() if old not in own}
        for each in inner.node:
            _rename(each, outer)
        for value in inner.output:
            value.name = outer.get(value.name, value.name)


class Names:
    """Names that no value of a model has yet."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._taken = defined(model.graph)
        for node in walk(model.graph):
            self._taken.update(*map(defined, subgraphs(node)))

    def fresh(self, name: str) -> str:
        """Return a name that is like another one, and take it."""
        for number in itertools.count():
            candidate = f"{name}.{number}" if number else name
            if candidate not in self._taken:
                self._taken.add(candidate)
                return candidate
        raise AssertionError("unreachable")
