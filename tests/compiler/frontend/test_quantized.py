"""Operators on integers: what Relax computes on LLVM, against ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx.helper import make_node
from onnx.reference import ReferenceEvaluator

from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.frontend.onnx.passes.quantized import four_bits_as_bytes
from microscopiq.target.errors import UnsupportedError
from tests.compiler.frontend.quantized_models import RUNTIME, codes, model, runtime
from tests.compiler.relax_modules import run_llvm

PAIRS = [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")]
"""Types of activations and weights that ONNX Runtime multiplies."""


def assert_equal(given: onnx.ModelProto, inputs: dict) -> None:
    """Check that every output equals ONNX Runtime's, to the last bit."""
    found = run_llvm(load_model(given), list(inputs.values()))
    for want, have in zip(runtime(given, inputs), found, strict=True):
        assert want.dtype == have.dtype
        np.testing.assert_array_equal(want, have)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_matrix_products_equal_onnx_runtime(a, b):
    rng = np.random.default_rng(0)
    x = {"a": codes(rng, a, 5, 40), "r": codes(rng, a, 2, 5, 8), "s": codes(rng, b, 2, 8, 3)}
    zero = np.array(113 if a == "uint8" else -5, a)
    nodes = [
        make_node("QLinearMatMul", ["a", "as", "az", "b", "bs", "bz", "ys", "yz"], ["y"]),
        make_node("MatMulInteger", ["a", "b", "az", "columns"], ["i"]),
        make_node("MatMulInteger", ["a", "b"], ["j"]),
        make_node("QLinearMatMul", ["r", "as", "az", "s", "bs", "bz", "ys", "yz"], ["z"]),
        make_node(
            "QGemm", ["a", "as", "az", "t", "channels", "none", "bias", "ys", "yz"], ["g"],
            domain=RUNTIME, transB=1, alpha=0.7,
        ),
        make_node(
            "QGemm", ["a", "as", "az", "b", "bs", "bz"], ["f"], domain=RUNTIME,
        ),
    ]  # fmt: skip
    outputs = {"y": a, "i": "int32", "j": "int32", "z": a, "g": a, "f": "float32"}
    constants = {
        "as": np.float32(0.013),
        "az": zero,
        "b": codes(rng, b, 40, 7),
        "t": codes(rng, b, 7, 40),
        "bs": np.float32(0.021),
        "bz": np.array(120 if b == "uint8" else 0, b),
        "columns": codes(rng, b, 7),
        "channels": rng.random(7, np.float32) / 40,
        "none": np.zeros(7, b),
        "bias": rng.integers(-999, 999, 7).astype(np.int32),
        "ys": np.float32(0.9),
        "yz": zero,
    }
    assert_equal(model(nodes, x, outputs, **constants), x)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_convolutions_equal_onnx_runtime(a, b):
    rng = np.random.default_rng(1)
    x = {"x": codes(rng, a, 2, 4, 9, 8), "line": codes(rng, a, 2, 4, 9)}
    zero = np.array(113 if a == "uint8" else -5, a)
    scales = ["xs", "xz", "w", "ws", "wz", "ys", "yz", "bias"]
    nodes = [
        make_node(
            "QLinearConv", ["x", *scales], ["y"], group=2, pads=[1, 1, 0, 2], strides=[2, 1]
        ),
        make_node(
            "QLinearConv", ["x", "xs", "xz", "w", "channels", "zeros", "ys", "yz"], ["c"],
            group=2, auto_pad="SAME_LOWER",
        ),
        make_node(
            "QLinearConv", ["line", "xs", "xz", "w1", "ws", "wz", "ys", "yz"], ["l"],
            pads=[2, 1], dilations=[2],
        ),
        make_node("ConvInteger", ["x", "w", "xz", "wz"], ["i"], group=2, auto_pad="SAME_UPPER"),
    ]  # fmt: skip
    constants = {
        "xs": np.float32(0.013),
        "xz": zero,
        "w": codes(rng, b, 6, 2, 3, 3),
        "w1": codes(rng, b, 6, 4, 3),
        "ws": np.float32(0.021),
        "wz": np.array(120 if b == "uint8" else 0, b),
        "channels": rng.random(6, np.float32) / 30,
        "zeros": np.full(6, 120 if b == "uint8" else 0, b),
        "ys": np.float32(0.5),
        "yz": zero,
        "bias": rng.integers(-999, 999, 6).astype(np.int32),
    }
    if a == "int8":  # of ConvInteger ONNX Runtime has unsigned activations alone
        nodes.pop()
    outputs = {name: a for name in "ycl"} | ({"i": "int32"} if a == "uint8" else {})
    assert_equal(model(nodes, x, outputs, **constants), x)


def test_weights_of_convolutions_can_be_inputs():
    rng = np.random.default_rng(6)
    x = {
        "x": codes(rng, "uint8", 2, 4, 7, 6), "w": codes(rng, "uint8", 6, 2, 3, 3),
        "s": codes(rng, "uint8", 1, 3, 9), "v": codes(rng, "uint8", 5, 3, 2),
    }  # fmt: skip
    nodes = [
        make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], group=2, pads=[1, 0, 2, 1]),
        make_node("ConvInteger", ["s", "v"], ["u"], strides=[2]),
    ]
    constants = {"xz": np.uint8(7), "wz": np.uint8(130)}
    assert_equal(model(nodes, x, {"y": "int32", "u": "int32"}, **constants), x)


def test_what_is_quantized_at_run_time_equals_onnx_runtime():
    rng = np.random.default_rng(2)
    x = {
        "x": rng.standard_normal((5, 40), np.float32),
        "image": rng.standard_normal((2, 4, 9, 8), np.float32),
        "dead": np.zeros((1, 40), np.float32),
        "high": rng.random((3, 40), np.float32) + 5,
    }
    nodes = [
        make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        make_node("MatMulInteger", ["q", "b", "z", "bz"], ["i"]),
        make_node("DynamicQuantizeLinear", ["image"], ["qi", "si", "zi"]),
        make_node("ConvInteger", ["qi", "w", "zi"], ["c"], pads=[1, 1, 1, 1]),
        make_node("DynamicQuantizeLinear", ["dead"], ["qd", "sd", "zd"]),
        make_node("DynamicQuantizeLinear", ["high"], ["qh", "sh", "zh"]),
        make_node(
            "DynamicQuantizeMatMul", ["x", "b", "bs", "bz", "bias"], ["m"], domain=RUNTIME
        ),
        make_node(
            "MatMulIntegerToFloat", ["q", "b", "s", "bs", "z", "bz"], ["f"], domain=RUNTIME
        ),
    ]  # fmt: skip
    outputs = {"i": "int32", "c": "int32", "m": "float32", "f": "float32"}
    outputs |= {f"{name}{which}": kind for which in ("", "d", "h")
                for name, kind in (("q", "uint8"), ("s", "float32"), ("z", "uint8"))}  # fmt: skip
    constants = {
        "b": codes(rng, "int8", 40, 7),
        "bz": codes(rng, "int8", 7),
        "bs": rng.random(7, np.float32) / 99,
        "bias": rng.random(7, np.float32),
        "w": codes(rng, "int8", 6, 4, 3, 3),
    }
    assert_equal(model(nodes, x, outputs, **constants), x)


def test_operators_on_codes_are_within_one_step_of_onnx_runtime():
    rng, dtype = np.random.default_rng(3), "uint8"
    x = {
        "x": rng.integers(0, 99, (2, 4, 6, 6)).astype(dtype),
        "xi": rng.integers(-128, 128, (2, 40)).astype(np.int8),
    }
    own = ["x", "xs", "xz", "ys", "yz"]
    exact = {
        "QLinearGlobalAveragePool": {},
        "QLinearSigmoid": {},
        "QLinearLeakyRelu": {"alpha": 0.1},
        "QLinearSoftmax": {"axis": -1, "opset": 13},
    }
    nodes = [make_node(name, own, [name], domain=RUNTIME, **more) for name, more in exact.items()]
    for name in ("QLinearAdd", "QLinearMul"):
        both = ["x", "xs", "xz", "other", "os", "oz", f"{name}s", "yz"]
        nodes.append(make_node(name, both, [name], domain=RUNTIME))
    signed = ["xi", "xs", "zi", "xi", "os", "zi", "QLinearAdds", "zi"]
    nodes.append(make_node("QLinearAdd", signed, ["signed"], domain=RUNTIME))
    both = ["ys", "yz", "x", "xs", "xz", "other", "os", "oz"]
    nodes.append(make_node("QLinearConcat", both, ["concat"], domain=RUNTIME, axis=1))
    nodes.append(
        make_node(
            "QLinearAveragePool", own, ["pool"], domain=RUNTIME, kernel_shape=[2, 2], strides=[2, 2]
        )
    )
    constants = {
        "xs": np.float32(0.02),
        "xz": np.array(3, dtype),
        "ys": np.float32(0.01),
        "yz": np.array(11, dtype),
        "other": rng.integers(0, 99, (2, 4, 6, 6)).astype(dtype),
        "os": np.float32(0.027),
        "oz": np.array(7, dtype),
        "zi": np.array(-7, np.int8),
        "QLinearAdds": np.float32(0.03),
        "QLinearMuls": np.float32(0.11),
    }
    outputs = {node.output[0]: dtype for node in nodes} | {"signed": "int8"}
    given = model(nodes, x, outputs, **constants)
    found = run_llvm(load_model(given), list(x.values()))
    for name, want, have in zip(outputs, runtime(given, x), found, strict=True):
        assert want.dtype == have.dtype and want.shape == have.shape
        # Averages and sums that lie between two codes are rounded after other steps in fp32.
        allowed = name in ("pool", "QLinearAdd", "signed")
        assert np.abs(want.astype(int) - have).max() <= allowed, name


def test_codes_and_numbers_equal_onnx_runtime():
    rng = np.random.default_rng(4)
    x = {"x": (rng.standard_normal((2, 4, 9, 8)) * 2).astype(np.float32)}
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
        make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1),
        make_node("QuantizeLinear", ["x", "one"], ["u"]),
        make_node("QuantizeLinear", ["x", "one"], ["w"], output_dtype=onnx.TensorProto.INT16),
        make_node("DequantizeLinear", ["k", "ks", "kz"], ["d"], axis=0, block_size=4),
        make_node("DequantizeLinear", ["n", "ks", "nz"], ["e"], axis=0, block_size=4),
    ]
    four = onnx.helper.make_tensor
    given = model(
        nodes, x, {"q": "int8", "y": "float32", "u": "uint8", "w": "int16", "d": "float32",
                   "e": "float32"},
        s=rng.random(4, np.float32) / 20, z=codes(rng, "int8", 4), one=np.float32(0.02),
        k=codes(rng, "int8", 12, 5), ks=rng.random((3, 5), np.float32),
        kz=codes(rng, "int8", 3, 5),
    )  # fmt: skip
    for name, shape in (("n", (12, 5)), ("nz", (3, 5))):
        values = rng.integers(0, 16, shape).reshape(-1)
        given.graph.initializer.append(four(name, onnx.TensorProto.UINT4, shape, values))
    assert_equal(given, x)
    held = {each.name: each.data_type for each in four_bits_as_bytes(given).graph.initializer}
    assert held["n"] == held["nz"] == onnx.TensorProto.UINT8


def test_blocks_are_quantized_as_onnx_defines_it():
    rng = np.random.default_rng(5)
    x = {"x": rng.standard_normal((6, 5)).astype(np.float32)}
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=0, block_size=3),
        make_node("QuantizeLinear", ["x", "s"], ["p"], axis=0, block_size=3, output_dtype=3),
    ]
    parameters = {"s": rng.random((2, 5), np.float32) / 20, "z": codes(rng, "uint8", 2, 5)}
    given = model(nodes, x, {"q": "uint8", "p": "int8"}, **parameters)
    found = run_llvm(load_model(given), list(x.values()))
    for want, have in zip(ReferenceEvaluator(given).run(None, x), found, strict=True):
        np.testing.assert_array_equal(want, have)


def test_operators_that_cannot_come_in_say_why():
    x = {"x": np.zeros((1, 4, 4, 2), np.uint8)}
    node = make_node(
        "QLinearAveragePool", ["x", "s", "z", "s", "z"], ["y"], "pool", domain=RUNTIME,
        kernel_shape=[2, 2], channels_last=1,
    )  # fmt: skip
    given = model([node], x, {"y": "uint8"}, s=np.float32(1), z=np.uint8(0))
    with pytest.raises(UnsupportedError, match=r"QLinearAveragePool 'pool': channels_last = 1"):
        load_model(given)
    cube = {"x": np.zeros((1, 1, 2, 2, 2), np.uint8)}
    node = make_node("ConvInteger", ["x", "w"], ["y"])
    given = model([node], cube, {"y": "int32"}, w=np.zeros((1, 1, 1, 1, 1), np.int8))
    with pytest.raises(UnsupportedError, match="a 3-D convolution of integers; allowed: 1-D, 2-D"):
        load_model(given)
