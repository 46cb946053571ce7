"""Numbers of 8 bits with an exponent, at every code and beside every rounding, as ONNX's own."""

import numpy as np
import onnx.helper as oh
import pytest
import tvm
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.llvm import build_for_llvm

TYPES = ("FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ", "FLOAT8E8M0")


def casts(nodes, kind, count):
    """Return a model of casts of one input."""
    outputs = [oh.make_tensor_value_info(f"y{n}", to, [count]) for n, (to, _) in enumerate(nodes)]
    made = [
        oh.make_node("Cast", ["x"], [f"y{n}"], to=to, **named)
        for n, (to, named) in enumerate(nodes)
    ]
    inputs = [oh.make_tensor_value_info("x", kind, [count])]
    return oh.make_model(
        oh.make_graph(made, "casts", inputs, outputs),
        opset_imports=[oh.make_opsetid("", 24)],
        ir_version=11,
    )


def results(model, x) -> list[np.ndarray]:
    machine = tvm.relax.VirtualMachine(build_for_llvm(load_model(model)), tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(x))
    return [found.numpy()] if hasattr(found, "numpy") else [each.numpy() for each in found]


def agree(model, x) -> None:
    wanted = ReferenceEvaluator(model).run(None, {"x": x})
    for array, want in zip(results(model, x), wanted, strict=True):
        assert array.dtype == want.dtype
        nan = np.isnan(want.astype(np.float32))
        np.testing.assert_array_equal(np.isnan(array.astype(np.float32)), nan)
        bits = f"u{array.itemsize}"  # zeros have a sign
        np.testing.assert_array_equal(array.view(bits)[~nan], want.view(bits)[~nan])


def numbers(name: str) -> np.ndarray:
    """Return what a type has, the middles between neighbours, both sides of these, and the ends."""
    kind = oh.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name))
    codes = np.arange(256, dtype=np.uint8).view(kind).astype(np.float32)
    own = np.unique(codes[np.isfinite(codes)])
    middles = (own[:-1] + own[1:]) / 2
    sides = [np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf)]
    ends = [np.inf, -np.inf, np.nan, -0.0, 1e-30, 3e38, -3e38, 500, -500, 1e5, own[-1] * 1.01]
    found = np.concatenate([own, middles, *sides, np.float32(ends)]).astype(np.float32)
    if name == "FLOAT8E8M0":  # what is below 0 has no meaning there
        return found[(found > 0) & np.isfinite(found)]
    return found


@pytest.mark.parametrize("name", TYPES)
def test_it_rounds_and_bounds_as_onnx_does(name):
    to = TensorProto.DataType.Value(name)
    nodes = [(to, {}), (to, {"saturate": 0})]
    if name == "FLOAT8E8M0":
        nodes = [(to, {"round_mode": each}) for each in ("up", "down", "nearest")]
    x = numbers(name)
    agree(casts(nodes, TensorProto.FLOAT, len(x)), x)


def test_numbers_of_64_bits_are_rounded_once():
    """Rounded to fp32 first, what is just above a middle would lie on it."""
    x = np.array([1.0625 + 1e-12, 1.1875 - 1e-12, -1.0625 - 1e-12, 17.0, np.inf, 2.0**-30])
    model = casts([(TensorProto.FLOAT8E4M3FN, {})], TensorProto.DOUBLE, len(x))
    (found,) = results(model, x)
    found = found.astype(np.float32)
    np.testing.assert_array_equal(found, [1.125, 1.125, -1.125, 16, 448, 0])


@pytest.mark.parametrize("name", TYPES)
def test_every_code_is_the_number_that_it_was(name):
    kind = TensorProto.DataType.Value(name)
    codes = np.arange(256, dtype=np.uint8).view(oh.tensor_dtype_to_np_dtype(kind))
    agree(casts([(TensorProto.FLOAT, {})], kind, 256), codes)
