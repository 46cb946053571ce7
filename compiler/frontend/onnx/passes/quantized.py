"""Quantized operators whose integers nothing multiplies, by what they mean."""

from collections.abc import Iterator

import onnx
from onnx import helper

from .....target.errors import UnsupportedError

RUNTIME = "com.microsoft"
"""Domain of the operators that ONNX Runtime added."""
PLAIN = {
    "QLinearAveragePool": "AveragePool",
    "QLinearConcat": "Concat",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
    "QLinearWhere": "Where",
}
"""The operator on numbers that each is on codes."""
NOT_PLAIN = ("channels_last", "opset")
"""Attributes that only the operators on codes have."""


def open_quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write QLinear operators without products as dequantize, the operator, quantize."""
    if not any(node.op_type in PLAIN for node in model.graph.node):
        return model
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        quantized = node.domain == RUNTIME and node.op_type in PLAIN
        nodes += list(_opened(node)) if quantized else [node]
    del opened.graph.node[:]
    opened.graph.node.extend(nodes)
    return opened


def _opened(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    before, codes, result = _operands(node)
    name = f"{node.output[0]}_of_{node.op_type}"
    numbers = [*before]
    for number, operand in enumerate(codes):
        numbers.append(f"{name}_{number}")
        yield helper.make_node("DequantizeLinear", operand, [numbers[-1]])
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if attributes.get("channels_last", 0):
        raise UnsupportedError(
            f"{node.op_type} '{node.name or node.output[0]}': channels_last = 1; allowed: 0"
        )
    kept = {key: value for key, value in attributes.items() if key not in NOT_PLAIN}
    yield helper.make_node(PLAIN[node.op_type], numbers, [name], name=node.name, **kept)
    yield helper.make_node("QuantizeLinear", [name, *result], list(node.output))


def _operands(node: onnx.NodeProto) -> tuple[list[str], list[list[str]], list[str]]:
    """Return inputs that are no codes, codes with scale and zero point, and the result's two."""
    inputs = list(node.input)
    if node.op_type == "QLinearConcat":
        return [], _threes(inputs[2:]), inputs[:2]
    if node.op_type == "QLinearWhere":
        return inputs[:1], _threes(inputs[1:7]), inputs[7:]
    return [], [inputs[:3]], inputs[3:]


def _threes(inputs: list[str]) -> list[list[str]]:
    return [inputs[first : first + 3] for first in range(0, len(inputs), 3)]


def four_bits_as_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Hold constants of 4 bits in bytes where they are only dequantized: Relax has no such type."""
    narrow = {
        onnx.TensorProto.INT4: onnx.TensorProto.INT8,
        onnx.TensorProto.UINT4: onnx.TensorProto.UINT8,
    }
    found = {each.name for each in model.graph.initializer if each.data_type in narrow}
    other = {
        name
        for node in model.graph.node
        if node.op_type != "DequantizeLinear"
        for name in node.input
    }
    found -= other | {each.name for each in model.graph.output}
    if not found:
        return model
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.name in found:
            kind = helper.tensor_dtype_to_np_dtype(narrow[tensor.data_type])
            values = onnx.numpy_helper.to_array(tensor).astype(kind)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return wide
