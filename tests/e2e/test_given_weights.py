"""Weights that come as integers and scales, beside activations in fp32."""

import numpy as np
import onnx
import pytest
from onnx.helper import make_node, make_tensor

from microscopiq.compiler.driver import compile_model, quantize
from microscopiq.compiler.options import Options
from microscopiq.compiler.verify import run_reference
from microscopiq.runtime.session import Session
from microscopiq.target.errors import ConfigError, UnsupportedError
from tests.compiler.frontend.quantized_models import RUNTIME, codes, model, runtime


def packed(values: np.ndarray) -> np.ndarray:
    """Return codes of 4 bits two in a byte, low bits first."""
    even = np.concatenate([values, np.zeros((*values.shape[:-1], values.shape[-1] % 2), int)], -1)
    return (even[..., 0::2] | even[..., 1::2] << 4).astype(np.uint8)


def nbits(rng, x: str, inputs: int, block: int, zeros: bool, out: int = 12) -> tuple:
    """Return a MatMulNBits, its constants, and the weights that they mean ``(in, out)``."""
    count = -(-inputs // block)
    values, zero = rng.integers(0, 16, (out, count, block)), rng.integers(0, 16, (out, count))
    zero = zero if zeros else np.full((out, count), 8)
    scale = (rng.random((out, count)) / 50 + 0.01).astype(np.float32)
    constants = {f"{x}b": packed(values), f"{x}s": scale.reshape(-1)}
    if zeros:
        constants[f"{x}z"] = packed(zero)
    node = make_node(
        "MatMulNBits", [x, *constants], [f"{x}y"], domain=RUNTIME, K=inputs, N=out, bits=4,
        block_size=block,
    )  # fmt: skip
    meant = (values - zero[..., None]) * scale[..., None]
    return node, constants, meant.reshape(out, -1)[:, :inputs].T


def largest_error(x: np.ndarray, weights: np.ndarray, group: int) -> np.ndarray:
    """Return how far a result may be from the exact one: activations by half a step of a code.

    Codes reach from -127 to 127 at a scale with 64 of them below the group's leading bit.
    """
    steps = np.zeros_like(x, np.float64)
    for start in range(0, x.shape[-1], group):
        part = np.s_[..., start : start + group]
        top = np.abs(x[part]).max(-1, keepdims=True)
        step = np.exp2(np.floor(np.log2(top)) - 6)
        # What rounds to 128 is clipped to 127: half a step more.
        steps[part] = np.where(np.abs(x[part]) > 127.5 * step, step, step / 2)
    return steps @ np.abs(weights) * (1 + 1e-6) + 1e-5


@pytest.mark.parametrize(
    ("inputs", "block", "zeros", "form"),
    [(64, 32, True, "int8"), (100, 16, False, "int4"), (256, 128, False, "int4")],
)
def test_matmul_nbits_multiplies_the_codes_as_they_are(inputs, block, zeros, form):
    rng = np.random.default_rng(inputs)
    x = {"x": rng.standard_normal((2, 3, inputs), np.float32)}
    node, constants, meant = nbits(rng, "x", inputs, block, zeros)
    given = model([node], x, {"xy": "float32"}, **constants)
    state = compile_model(given, Options(arch="tiny-4x4"))
    records = [record for record in state.layers.values() if record.weight_format]
    assert [(record.kind, record.weight_format) for record in records] == [("given_blocks", form)]
    found = [Session(state.executable, mode=mode).run(x["x"]).outputs[0]
             for mode in ("fast", "structural")]  # fmt: skip
    (reference,) = run_reference(state, [x["x"]])
    for each in found:
        np.testing.assert_array_equal(each.view(np.int32), reference.view(np.int32))
    want = runtime(given, x)[0]
    assert (np.abs(found[0] - want) <= largest_error(x["x"], meant, block)).all()


def test_other_weights_of_the_source_are_multiplied_as_they_are():
    rng = np.random.default_rng(5)
    x = {
        "x": rng.standard_normal((3, 40), np.float32),
        "image": rng.standard_normal((1, 4, 6, 6), np.float32),
    }
    nodes = [
        make_node("DequantizeLinear", ["c", "cs", "cz"], ["w"], axis=1),
        make_node("MatMul", ["x", "w"], ["by_channel"]),
        make_node("DequantizeLinear", ["f", "fs"], ["v"], axis=0, block_size=8),
        make_node("MatMul", ["x", "v"], ["by_block"]),
        make_node("DequantizeLinear", ["k", "ks"], ["kernel"], axis=0),
        make_node("Conv", ["image", "kernel"], ["convolved"], pads=[1, 1, 1, 1], group=2),
    ]
    constants = {
        "c": codes(rng, "uint8", 40, 5) // 2 + 64,
        "cs": rng.random(5, np.float32) / 50,
        "cz": np.full(5, 128, np.uint8),
        "fs": rng.random((5, 5), np.float32) / 9,
        "k": codes(rng, "int8", 6, 2, 3, 3),
        "ks": rng.random(6, np.float32) / 50,
    }
    outputs = dict.fromkeys(("by_channel", "by_block", "convolved"), "float32")
    given = model(nodes, x, outputs, **constants)
    four = rng.integers(-8, 8, (40, 5))
    given.graph.initializer.append(
        make_tensor("f", onnx.TensorProto.INT4, four.shape, four.reshape(-1))
    )
    state = compile_model(given, Options(arch="tiny-4x4"))
    kinds = {r.kind: r.weight_format for r in state.layers.values() if r.weight_format}
    assert kinds == {"given_linear": "int8", "given_blocks": "int4", "given_conv2d": "int8"}
    found = Session(state.executable).run(*x.values()).outputs
    for each, reference in zip(found, run_reference(state, list(x.values())), strict=True):
        np.testing.assert_array_equal(each.view(np.int32), reference.view(np.int32))
    by_channel, by_block, convolved = runtime(given, x)
    meant = (constants["c"].astype(int) - 128) * constants["cs"]
    assert (np.abs(found[0] - by_channel) <= largest_error(x["x"], meant, 128)).all()
    meant = four * np.repeat(constants["fs"], 8, 0)
    assert (np.abs(found[1] - by_block) <= largest_error(x["x"], meant, 8)).all()
    kernel = np.abs(constants["k"] * constants["ks"].reshape(-1, 1, 1, 1)).sum((1, 2, 3))
    step = np.exp2(np.floor(np.log2(np.abs(x["image"]).max())) - 6)
    assert (np.abs(found[2] - convolved).max((0, 2, 3)) <= step * kernel).all()


def test_what_cannot_be_taken_says_why():
    rng = np.random.default_rng(0)
    x = {"x": rng.standard_normal((3, 32), np.float32)}
    node, constants, _ = nbits(rng, "x", 32, 16, zeros=False)
    given = model([node], x, {"xy": "float32"}, **constants)
    with pytest.raises(ConfigError, match="comes quantized: 1 of its products"):
        quantize(given, "int4")
    node.attribute[2].i = 3
    with pytest.raises(UnsupportedError, match="MatMulNBits of 3 bits; allowed: 2, 4, 8"):
        quantize(model([node], x, {"xy": "float32"}, **constants))
