"""ONNX models with integers in them, and what ONNX Runtime computes with these."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper

RUNTIME = "com.microsoft"


def model(
    nodes: list, inputs: dict, outputs: dict[str, str], opset: int = 21, **constants
) -> onnx.ModelProto:
    """Return a model.

    Parameters
    ----------
    inputs : dict of str to numpy.ndarray
        Values whose types and shapes are declared.
    outputs : dict of str to str
        dtype of each.
    """

    def info(name, dtype, shape):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "quantized",
        [info(name, value.dtype, value.shape) for name, value in inputs.items()],
        [info(name, dtype, None) for name, dtype in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(RUNTIME, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def runtime(given: onnx.ModelProto, inputs: dict, as_written: bool = False) -> list[np.ndarray]:
    """Return what ONNX Runtime computes, `as_written` without what it fuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if as_written:
        none = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = none
    session = onnxruntime.InferenceSession(
        given.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def codes(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    """Return random codes.

    Signed ones have 7 bits: on a CPU without VNNI ONNX Runtime adds pairs of products of unsigned
    by signed bytes in 16 bits, where full ones saturate.
    """
    low, high = (-64, 64) if dtype == "int8" else (0, 256)
    return rng.integers(low, high, shape).astype(dtype)
