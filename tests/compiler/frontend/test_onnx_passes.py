"""Passes over an ONNX graph: each on the smallest model that needs it."""

import numpy as np
import onnx
import onnx.helper as oh
import tvm
from onnx import TensorProto

from microscopiq.compiler.frontend.load import load_model


def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return oh.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def run(mod: tvm.IRModule, *inputs: np.ndarray) -> np.ndarray:
    machine = tvm.relax.VirtualMachine(tvm.relax.build(mod, target="llvm"), tvm.cpu())
    return machine["main"](*map(tvm.runtime.tensor, inputs)).numpy()


def test_initializers_among_the_inputs_are_constants():
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    graph = oh.make_graph(
        [oh.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [value("x", 1, 3), value("w", 3, 2)],
        [value("y", 1, 2)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    mod = load_model(oh.make_model(graph, ir_version=3, opset_imports=[oh.make_opsetid("", 11)]))
    assert len(mod["main"].params) == 1
    x = np.array([[1, 2, 4]], np.float32)
    np.testing.assert_array_equal(run(mod, x), x @ w)
