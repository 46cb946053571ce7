"""What a pass changed of an ONNX graph, as text for people."""

from collections import Counter

import onnx

SHOWN = 8
"""Elements of a constant that are written out."""


def changes(name: str, before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """Return what a pass took away and put in, a line each, under its name and what it is for."""
    old, new = lines(before), lines(after)
    gone, come = Counter(old) - Counter(new), Counter(new) - Counter(old)
    counts = [f"{len(each.graph.node)} nodes" for each in (before, after)]
    text = [f"== {name}: {counts[0]}, then {counts[1]}"]
    text += _taken("-", old, gone) + _taken("+", new, come)
    return "\n".join(text if len(text) > 1 else [*text, "nothing changed"]) + "\n"


def _taken(sign: str, every: list[str], which: Counter) -> list[str]:
    left = Counter(which)
    found = []
    for line in every:
        if left[line] > 0:
            left[line] -= 1
            found.append(f"{sign} {line}")
    return found


def lines(model: onnx.ModelProto) -> list[str]:
    """Return a graph as lines: opsets, inputs, constants and nodes."""
    graph = model.graph
    opsets = ", ".join(f"{each.domain or 'onnx'} {each.version}" for each in model.opset_import)
    return [
        f"opsets {opsets}",
        *(f"input {value.name}{_shape(value.type)}" for value in graph.input),
        *(f"constant {each.name}{list(each.dims)}{_values(each)}" for each in graph.initializer),
        *map(_node, graph.node),
    ]


def _node(node: onnx.NodeProto) -> str:
    attributes = ", ".join(f"{each.name}={_attribute(each)}" for each in node.attribute)
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return (
        f"{', '.join(node.output)} = {operator}({', '.join(node.input)})"
        + (f" {{{attributes}}}" if attributes else "")
        + (f"  # {node.name}" if node.name else "")
    )


def _attribute(attribute: onnx.AttributeProto) -> str:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return f"{list(value.dims)}{_values(value)}"
    if isinstance(value, onnx.GraphProto):
        return f"a graph of {len(value.node)} nodes"
    return value.decode() if isinstance(value, bytes) else str(value)


def _values(tensor: onnx.TensorProto) -> str:
    array = onnx.numpy_helper.to_array(tensor)
    return f" {array.ravel().tolist()}" if array.size <= SHOWN else ""


def _shape(kind: onnx.TypeProto) -> str:
    if not kind.tensor_type.HasField("shape"):
        return " of any rank"
    dims = kind.tensor_type.shape.dim
    return "[" + ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims) + "]"
