"""Programs equal the LLVM reference bit for bit, operator by operator, over random shapes."""

import dataclasses

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from microscopiq.compiler.kinds.registry import emit, scheduled
from microscopiq.compiler.llvm import build_for_llvm
from microscopiq.compiler.operators import Conv, Gemm, Quantize
from microscopiq.compiler.quant import methods  # noqa: F401
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.compiler.tir.gemm import gemm
from microscopiq.compiler.tir.quantize import quantize
from microscopiq.target.arch import load_arch
from microscopiq.target.formats import ACTIVATION_FORMATS
from microscopiq.target.isa.program import Program
from microscopiq.target.packing import pack
from microscopiq.target.weight import integers

METHOD = {
    "int4": "rtn",
    "int8": "rtn",
    "ms2": "microscopiq",
    "ms4": "microscopiq",
    "fineq": "fineq",
    "olive4": "olive",
}
ACTIVATIONS = st.sampled_from(sorted(ACTIVATION_FORMATS))
SLOW = settings(
    max_examples=25,
    # Shrinking compiles a function per attempt: minutes for a slightly smaller shape.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


FINEQ_8X8 = dataclasses.replace(
    load_arch("fineq-64x64"), name="fineq-8x8", array_rows=8, array_cols=8, spad_bytes=8192
)
"""Temporal PEs with tiles that cut groups of 24 inputs, and clusters of 3, anywhere."""


def both(op, arch_name, seed: int, tile=None, opt_level=0):
    """Return the outputs of the reference and of the program on the same random arguments."""
    arch, rng = load_arch(arch_name), np.random.default_rng(seed)
    segment, decoded = b"", []
    if isinstance(op, Gemm) and op.weight_format:
        shape = (op.conv_groups, op.n, op.k)
        real = (rng.standard_t(3, shape) * 0.05).astype(np.float32)
        weights = [
            quantize_weight(METHOD[op.weight_format], w, op.weight_format, "test")[0] for w in real
        ]
        segment = pack(weights)
        pairs = [integers(weight) for weight in weights]
        decoded = [np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])]
    function = emit(scheduled(op, arch, tile).mod["main"], arch, "f", "test", segment)
    given_arrays = {
        a.name: random_array(rng, a, op.activation) for a in function.arguments if not a.is_output
    }
    outputs = [a for a in function.arguments if a.is_output]
    inputs = list(given_arrays.values())
    reference_inputs = inputs[:2] + decoded + inputs[2:] if decoded else inputs
    make = quantize if isinstance(op, Quantize) else gemm
    alone = tvm.IRModule({"main": make(op).with_attr("global_symbol", "main")})
    reference = build_for_llvm(alone, opt_level)["main"]
    program = Program.for_arch(arch, {"f": function})
    simulated = tvm.get_global_func("microscopiq.runtime.create")(program.to_bytes())["f"]
    return (
        run(reference, reference_inputs, outputs),
        run(simulated, inputs, outputs),
    )


def random_array(rng, argument, activation):
    if argument.dtype == "int8" and "exponent" in argument.name:
        return rng.integers(-12, 5, argument.shape).astype(np.int8)
    if argument.dtype == "int8":
        largest = ACTIVATION_FORMATS[activation].q_max
        return rng.integers(-largest, largest, argument.shape, endpoint=True).astype(np.int8)
    scale = np.exp2(rng.integers(-8, 8, (*argument.shape[:1],) + (1,) * (len(argument.shape) - 1)))
    return (rng.standard_normal(argument.shape) * scale).astype(np.float32)


def run(function, inputs, outputs):
    results = [tvm.runtime.tensor(np.zeros(a.shape, a.dtype)) for a in outputs]
    function(*[tvm.runtime.tensor(x) for x in inputs], *results)
    return [result.numpy() for result in results]


def assert_equal_bits(op, arch_name, seed=0, tile=None, opt_level=0):
    expected, found = both(op, arch_name, seed, tile, opt_level)
    for want, have in zip(expected, found, strict=True):
        view = {4: np.int32, 1: np.int8}[want.dtype.itemsize]
        np.testing.assert_array_equal(want.view(view), have.view(view), err_msg=str(op))


@SLOW
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 300),
    k=st.integers(1, 300),
    weight_format=st.sampled_from(sorted(METHOD)),
    bias=st.booleans(),
    residual=st.booleans(),
    bounds=st.sampled_from([(None, None), (0.0, None), (0.0, 6.0)]),
    seed=st.integers(0, 1000),
)
def test_linear(m, n, k, weight_format, bias, residual, bounds, seed):
    op = Gemm(1, 1, m, n, k, weight_format, None, bias, residual, *bounds)
    assert_equal_bits(op, "tiny-4x4", seed)


@SLOW
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 300),
    k=st.integers(1, 300),
    weight_format=st.sampled_from(sorted(METHOD)),
    activation=ACTIVATIONS,
    seed=st.integers(0, 1000),
)
def test_linear_requantized(m, n, k, weight_format, activation, seed):
    op = Gemm(
        1, 1, m, n, k, weight_format, bias=True, low=0.0, requantize=True, activation=activation
    )
    assert_equal_bits(op, "tiny-4x4", seed)


@SLOW
@given(
    batch=st.integers(1, 6),
    m=st.integers(1, 40),
    n=st.integers(1, 150),
    k=st.integers(1, 150),
    activation=ACTIVATIONS,
    seed=st.integers(0, 1000),
)
def test_attention(batch, m, n, k, activation, seed):
    assert_equal_bits(Gemm(batch, 1, m, n, k, "", activation=activation), "tiny-4x4", seed)


@SLOW
@given(data=st.data())
def test_conv2d(data):
    draw = data.draw
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    height = draw(st.integers(max(1, spans[0] - pads[0] - pads[2]), 12))
    width = draw(st.integers(max(1, spans[1] - pads[1] - pads[3]), 12))
    channels, groups = draw(st.integers(1, 20)), draw(st.integers(1, 3))
    # Of several groups side by side each has an exponent of its own for its columns.
    side = draw(st.integers(1, 3))
    conv = Conv(channels, height, width, *kernel, *stride, *pads, *dilation)
    op = Gemm(
        draw(st.integers(1, 3)),
        groups,
        conv.out_height * conv.out_width,
        draw(st.integers(1, 140)) if side == 1 else side * draw(st.integers(1, 42)),
        channels * kernel[0] * kernel[1],
        draw(st.sampled_from(sorted(METHOD))),
        conv,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from([None, 0.0])),
        side_by_side=side,
    )
    assert_equal_bits(op, "tiny-4x4", draw(st.integers(0, 1000)))


@SLOW
@given(
    rows=st.integers(1, 50),
    length=st.integers(1, 400),
    activation=ACTIVATIONS,
    seed=st.integers(0, 1000),
)
def test_quantize_rows(rows, length, activation, seed):
    assert_equal_bits(Quantize(rows, length, min(length, 128), activation), "tiny-4x4", seed)


@SLOW
@given(
    rows=st.integers(1, 3),
    length=st.integers(1, 20000),
    activation=ACTIVATIONS,
    seed=st.integers(0, 1000),
)
def test_quantize_images(rows, length, activation, seed):
    assert_equal_bits(Quantize(rows, length, length, activation), "tiny-4x4", seed)


@SLOW
@given(
    batch=st.integers(1, 3),
    pixels=st.integers(1, 90),
    channels=st.integers(1, 300),
    activation=ACTIVATIONS,
    seed=st.integers(0, 1000),
)
def test_quantize_pixels(batch, pixels, channels, activation, seed):
    op = Quantize(pixels, channels, min(channels, 128), activation, batch, across=True)
    assert_equal_bits(op, "tiny-4x4", seed)


@SLOW
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 300),
    n=st.integers(1, 150),
    weight_format=st.sampled_from(sorted(METHOD)),
    seed=st.integers(0, 1000),
)
def test_conv2d_by_pixel(batch, height, width, channels, n, weight_format, seed):
    conv = Conv(channels, height, width, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1)
    op = Gemm(batch, 1, height * width, n, channels, weight_format, conv, True, by_pixel=True)
    assert_equal_bits(op, "tiny-4x4", seed)


@pytest.mark.parametrize("weight_format", sorted(METHOD))
def test_default_machine(weight_format):
    op = Gemm(1, 1, 130, 200, 320, weight_format, bias=True, residual=True, low=0.0)
    machine = dataclasses.replace(load_arch("microscopiq-64x64"), pair_decoders=1)
    assert_equal_bits(op, machine, opt_level=3)


@SLOW
@given(
    m=st.integers(1, 20),
    n=st.integers(1, 200),
    k=st.integers(1, 300),
    requantize=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_fineq_machine(m, n, k, requantize, seed):
    op = Gemm(1, 1, m, n, k, "fineq", bias=True, requantize=requantize)
    assert_equal_bits(op, FINEQ_8X8, seed)


@pytest.mark.parametrize("k", [1, 23, 24, 25, 48, 127, 128, 129, 152, 256])
def test_fineq_with_inputs_around_a_group(k):
    assert_equal_bits(Gemm(1, 1, 3, 70, k, "fineq"), "fineq-64x64", k)


OLIVE_8X8 = dataclasses.replace(
    load_arch("olive-64x64"), name="olive-8x8", array_rows=8, array_cols=8, spad_bytes=8192
)


@SLOW
@given(
    m=st.integers(1, 20),
    n=st.integers(1, 200),
    k=st.integers(1, 300),
    requantize=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_olive_machine(m, n, k, requantize, seed):
    """Pairs beside activations of 4 bits; two activations, and weights of 8 bits, in two cycles."""
    op = Gemm(1, 1, m, n, k, "olive4", bias=True, requantize=requantize, activation="mx-int4")
    assert_equal_bits(op, OLIVE_8X8, seed)
    if seed % 5 == 0:
        assert_equal_bits(Gemm(2, 1, m, n, k, ""), OLIVE_8X8, seed)
        assert_equal_bits(Gemm(1, 1, m, n, k, "int8"), OLIVE_8X8, seed)


def test_olive_conv():
    """Depths that end within a pair, and groups beside each other."""
    conv = Conv(15, 9, 8, 3, 3, 2, 1, 1, 0, 2, 1, 1, 2)
    pixels = conv.out_height * conv.out_width
    op = Gemm(2, 2, pixels, 12, 135, "olive4", conv, bias=True, low=0.0, activation="mx-int4")
    for arch in (OLIVE_8X8, "olive-64x64"):
        assert_equal_bits(op, arch)


def test_fineq_conv():
    conv = Conv(15, 9, 8, 3, 3, 2, 1, 1, 0, 2, 1, 1, 2)
    op = Gemm(2, 2, conv.out_height * conv.out_width, 12, 135, "fineq", conv, bias=True, low=0.0)
    for arch in (FINEQ_8X8, "fineq-64x64"):
        assert_equal_bits(op, arch)


def test_int8_machine():
    assert_equal_bits(Gemm(1, 1, 130, 200, 320, "int4", bias=True), "int8-64x64")
