"""Small ONNX models for tests, and what ONNX Runtime says of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.helper as oh
import onnxruntime
import tvm
from onnx import TensorProto

from microscopiq.compiler.llvm import build_for_llvm

KINDS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(bool): TensorProto.BOOL,
}
Shape = Sequence[int | str | None] | None


def value(name: str, shape: Shape, dtype=np.float32) -> onnx.ValueInfoProto:
    return oh.make_tensor_value_info(name, KINDS[np.dtype(dtype)], shape)


def constant(name: str, array) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def graph(nodes, inputs, outputs, constants: Mapping = {}) -> onnx.GraphProto:
    return oh.make_graph(
        nodes,
        "graph",
        inputs,
        outputs,
        [constant(name, array) for name, array in constants.items()],
    )


def model(nodes, inputs, outputs, constants: Mapping = {}, opset=17, **named):
    """Return a model; outputs without a type are found by ONNX Runtime."""
    made = graph(nodes, inputs, outputs, constants)
    named.setdefault("ir_version", 8)
    return oh.make_model(made, opset_imports=[oh.make_opsetid("", opset)], **named)


def feeds(of: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random inputs; those of integers are 0 or 1."""
    rng = np.random.default_rng(seed)
    made = {}
    for each in of.graph.input:
        tensor = each.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        dtype = oh.tensor_dtype_to_np_dtype(tensor.elem_type)
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        made[each.name] = np.asarray(values).astype(dtype)
    return made


def by_runtime(of: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(of.SerializeToString(), options).run(None, inputs)


def on_llvm(mod: tvm.IRModule, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    machine = tvm.relax.VirtualMachine(build_for_llvm(mod), tvm.cpu())
    result = machine["main"](*map(tvm.runtime.tensor, inputs))
    results = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
    return [each.numpy() for each in results]
