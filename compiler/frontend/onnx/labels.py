"""What layers are called: by their parameters, or by their nodes where those have no names."""

import re

import onnx

from ...names import digest

OPERATOR = re.compile(r"(Conv|Conv[123]D|MatMul|Gemm|Einsum|einsum|BiasAdd|\w*_quant)(_\d+)?")
"""The last part of a node's name, where it only says what the node does."""
COMPUTED = re.compile(r"onnx::|.*[/:]|\d+$|[^.]*$")
"""Names that exporters give to what they computed, in place of a parameter's."""


def parameter_names(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Return the names of a model's constants by `digest` of their values.

    Layers are named by their weights.
    """
    readers: dict[str, str] = {}
    for node in model.graph.node:
        for name in node.input[1:]:
            readers.setdefault(name, node.name)
    names: dict[str, list[str]] = {}
    for tensor in model.graph.initializer:
        name = tensor.name
        if COMPUTED.match(name) and (label := node_label(readers.get(name, ""))):
            name = f"{label}.weight"
        names.setdefault(digest(onnx.numpy_helper.to_array(tensor)), []).append(name)
    return names


def node_label(name: str) -> str:
    """Return a node's name as modules are called: parts with points between, no operator last."""
    parts = [part for part in name.split("/") if part]
    if len(parts) > 1 and OPERATOR.fullmatch(parts[-1]):
        parts.pop()
    return ".".join(parts)
