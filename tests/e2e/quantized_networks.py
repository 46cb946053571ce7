"""A CNN and a BERT-like encoder in fp32, for ONNX Runtime to quantize."""

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)

WIDTH, HEADS, LENGTH, TOKENS = 16, 2, 4, 20


class _Graph:
    """Nodes and random constants, added one by one."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def weight(self, name: str, *shape: int) -> str:
        scale = np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        value = self.rng.standard_normal(shape) / scale
        self.constants[name] = value.astype(np.float32)
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        product = self.add(
            "MatMul", [x, self.weight(f"{name}.weight", inputs, outputs)], f"{name}m"
        )
        return self.add("Add", [product, self.weight(f"{name}.bias", outputs)], f"{name}b")

    def model(self, inputs: list, outputs: list) -> onnx.ModelProto:
        constants = [onnx.numpy_helper.from_array(v, name) for name, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "network", inputs, outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def cnn() -> onnx.ModelProto:
    """Return a small residual network with a depthwise convolution."""
    g = _Graph(0)
    x = g.add("Conv", ["x", g.weight("stem.weight", 8, 3, 3, 3), g.weight("stem.bias", 8)], "a",
              pads=[1] * 4)  # fmt: skip
    x = g.add("Relu", [x], "b")
    y = g.add("Conv", [x, g.weight("depth.weight", 8, 1, 3, 3)], "c", pads=[1] * 4, group=8)
    x = g.add("Add", [y, x], "d")
    x = g.add("MaxPool", [x], "e", kernel_shape=[2, 2], strides=[2, 2])
    x = g.add("Flatten", [g.add("GlobalAveragePool", [x], "f")], "g")
    g.add("Gemm", [x, g.weight("head.weight", 5, 8), g.weight("head.bias", 5)], "y", transB=1)
    kind = onnx.TensorProto.FLOAT
    return g.model(
        [helper.make_tensor_value_info("x", kind, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, [1, 5])],
    )


def bert() -> onnx.ModelProto:
    """Return an encoder layer: embedding, attention, GELU, layer norms, a classifier."""
    g = _Graph(1)
    shape, depth = (1, LENGTH, HEADS, WIDTH // HEADS), np.float32(np.sqrt(WIDTH // HEADS))
    g.constants |= {
        "split": np.array(shape, np.int64),
        "join": np.array([1, LENGTH, WIDTH], np.int64),
        "depth": np.asarray(depth),
        "ones": np.ones(WIDTH, np.float32),
        "zeros": np.zeros(WIDTH, np.float32),
    }
    x = g.add("Gather", [g.weight("embedding.weight", TOKENS, WIDTH), "ids"], "embedded")
    parts = {}
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        apart = g.add("Reshape", [g.linear(x, name, WIDTH, WIDTH), "split"], f"{name}r")
        parts[name] = g.add("Transpose", [apart], f"{name}t", perm=order)
    scores = g.add("Div", [g.add("MatMul", [parts["q"], parts["k"]], "qk"), "depth"], "scores")
    mixed = g.add("MatMul", [g.add("Softmax", [scores], "weights", axis=-1), parts["v"]], "mixed")
    joined = g.add("Reshape", [g.add("Transpose", [mixed], "back", perm=[0, 2, 1, 3]), "join"], "o")
    x = g.add("Add", [g.linear(joined, "out", WIDTH, WIDTH), x], "residual")
    x = g.add("LayerNormalization", [x, "ones", "zeros"], "normed")
    g.linear(g.add("Relu", [g.linear(x, "up", WIDTH, WIDTH)], "active"), "head", WIDTH, 3)
    return g.model(
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, LENGTH])],
        [helper.make_tensor_value_info("headb", onnx.TensorProto.FLOAT, [1, LENGTH, 3])],
    )


NETWORKS = {"cnn": cnn, "bert": bert}


def samples(name: str, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Return inputs of a network."""
    rng = np.random.default_rng(seed)
    if name == "cnn":
        return [{"x": rng.standard_normal((1, 3, 8, 8), np.float32)} for _ in range(count)]
    return [{"ids": rng.integers(0, TOKENS, (1, LENGTH))} for _ in range(count)]


class _Samples(CalibrationDataReader):
    def __init__(self, name: str):
        self.left = iter(samples(name, 4))

    def get_next(self):
        return next(self.left, None)


def quantized(name: str, how: str, folder, **options) -> onnx.ModelProto:
    """Return a network as ONNX Runtime quantizes it: ``QDQ``, ``QOperator`` or ``dynamic``."""
    before, after = folder / f"{name}.onnx", folder / f"{name}_{how}.onnx"
    onnx.save(NETWORKS[name](), before)
    if how == "dynamic":
        quantize_dynamic(before, after, **options)
    else:
        form = getattr(QuantFormat, how)
        quantize_static(before, after, _Samples(name), quant_format=form, **options)
    return onnx.load(after)
