"""Operators that ONNX defines by others, and scans: opened before TVM sees them."""

import numpy as np
import onnx.helper as oh
import pytest

from microscopiq.compiler.frontend.load import load_model
from microscopiq.target.errors import UnsupportedError
from tests.compiler.frontend.onnx_models import (
    by_runtime,
    feeds,
    graph,
    model,
    on_llvm,
    value,
)

Y = value("y", None)


def agrees(of, inputs=None) -> None:
    inputs = feeds(of) if inputs is None else inputs
    wanted = by_runtime(of, inputs)
    for found, want in zip(on_llvm(load_model(of), list(inputs.values())), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_an_operator_that_only_onnx_defines_is_opened_with_its_attributes():
    node = oh.make_node(
        "SoftmaxCrossEntropyLoss", ["x", "t"], ["y", "logs"], reduction="sum", ignore_index=1
    )
    inputs = [value("x", [4, 5, 2]), value("t", [4, 2], np.int64)]
    agrees(model([node], inputs, [Y, value("logs", None)]))


def test_an_attribute_that_is_left_out_has_the_default_of_its_operator():
    node = oh.make_node("NegativeLogLikelihoodLoss", ["x", "t"], ["y"])
    agrees(model([node], [value("x", [3, 5]), value("t", [3], np.int64)], [Y]))
    # The window's dtype is an attribute with a default; ONNX Runtime has a kernel of its own.
    window = oh.make_node("HannWindow", ["n"], ["w"])
    add = oh.make_node("Add", ["x", "w"], ["y"])
    agrees(model([window, add], [value("x", [6])], [Y], {"n": np.int64(6)}))


def test_attention_of_onnx_is_not_that_of_onnx_runtime():
    node = oh.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1, scale=0.3)
    inputs = [value(name, [1, 2, 4, 8]) for name in "qkv"]
    agrees(model([node], inputs, [Y], opset=23, ir_version=10))


def test_an_inner_operator_keeps_apart_from_the_graph_around_it():
    """Two of one operator, without names, whose definitions name their values alike."""
    nodes = [
        oh.make_node("MeanVarianceNormalization", ["x"], ["m"], axes=[1]),
        oh.make_node("NegativeLogLikelihoodLoss", ["m", "t"], ["a"], reduction="none"),
        oh.make_node("NegativeLogLikelihoodLoss", ["x", "t"], ["b"], reduction="none"),
        oh.make_node("Sub", ["a", "b"], ["y"]),
    ]
    agrees(model(nodes, [value("x", [3, 5]), value("t", [3], np.int64)], [Y]))


def scan(backward=0, axis=0, steps=3) -> object:
    body = graph(
        [
            oh.make_node("MatMul", ["s", "w"], ["m"]),
            oh.make_node("Add", ["m", "row"], ["next"]),
            oh.make_node("Relu", ["next"], ["out"]),
        ],
        [value("s", [4]), value("row", [4])],
        [value("next", [4]), value("out", [4])],
        {"w": np.eye(4, dtype=np.float32)[::-1] / 2},
    )
    node = oh.make_node(
        "Scan", ["s0", "x"], ["last", "y"], body=body, num_scan_inputs=1,
        scan_input_directions=[backward], scan_output_directions=[backward],
        scan_input_axes=[axis], scan_output_axes=[axis],
    )  # fmt: skip
    shape = [steps, 4] if axis == 0 else [4, steps]
    return model([node], [value("s0", [4]), value("x", shape)], [value("last", None), Y])


@pytest.mark.parametrize(("backward", "axis"), [(0, 0), (1, 0), (0, 1)])
def test_a_scan_is_its_steps(backward, axis):
    agrees(scan(backward, axis))


def test_a_scan_of_many_steps_is_refused():
    with pytest.raises(UnsupportedError, match="Scan last: it has 2000 steps; allowed: 1 to 1024"):
        load_model(scan(steps=2000))
