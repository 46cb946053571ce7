"""From quantizer to array: the integers that a method returns are what the machine multiplies.

For each method and each format of the machine, with samples and without: what packing writes, what
a program holds that was loaded from its bytes, what LLVM unpacks, and what the simulator, stepped
or not, multiplies. Inputs with a single 1 bring a weight to the output: code 64 times 2^-6, so that
each output is one integer times its scale, which fp32 holds.
"""

import numpy as np
import pytest
import tvm

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.llvm import build_for_llvm
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes import pack as pack_pass
from microscopiq.compiler.passes.records import read_records
from microscopiq.compiler.quant.base import METHODS
from microscopiq.compiler.quant.recipe import Recipe
from microscopiq.runtime.session import Session
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.isa.program import Program
from microscopiq.target.packing import unpack
from microscopiq.target.weight import dequantize, integers
from tests.compiler import relax_modules as make
from tests.distinct_formats import DISTINCT

BY_EVERY_METHOD = ("int4", "int8", "ms2", "ms4", "fineq", "nvfp4")
"""What a method does to another format differs in nothing that comes after it."""
CASES = [
    (name, weight_format, calibrated)
    for name, entry in METHODS.items()
    for weight_format in entry.formats
    if weight_format in WEIGHT_FORMATS
    for calibrated in ((True,) if entry.needs_statistics else (False, True))
    if weight_format in BY_EVERY_METHOD or (name == "rtn" and not calibrated)
]
INPUTS, OUTPUTS = 140, 132
"""Two groups of inputs, two blocks of output channels, both ragged."""
CHANNELS, KERNEL, FILTERS, GROUPS = 4, 3, 20, 2


def heavy(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_t(3, shape).astype(np.float32)


def linear(emit, x):
    return emit(make.op.matmul(x, make.relax.const(heavy(INPUTS, OUTPUTS))))


def conv(emit, x):
    kernel = make.relax.const(heavy(FILTERS, CHANNELS // GROUPS, KERNEL, KERNEL))
    return emit(make.op.nn.conv2d(x, kernel, groups=GROUPS))


IMAGES = CHANNELS * KERNEL**2
MODELS = {
    "linear": (linear, np.eye(INPUTS, dtype=np.float32)),
    "conv": (conv, np.eye(IMAGES, dtype=np.float32).reshape(-1, CHANNELS, KERNEL, KERNEL)),
}


def expected(kind: str, weights: list) -> np.ndarray:
    """Return the output for inputs with a single 1: each weight where its input's 1 is."""
    values = [dequantize(weight) for weight in weights]
    if kind == "linear":
        return values[0].T
    out = np.zeros((IMAGES, FILTERS), np.float32)
    for group, matrix in enumerate(values):
        rows, columns = IMAGES // GROUPS, FILTERS // GROUPS
        out[group * rows :, group * columns :][:rows, :columns] = matrix.T
    return out[:, :, None, None]


@pytest.fixture
def returned(monkeypatch):
    """Return the list of what the methods return from now on."""
    found: list = []
    original = pack_pass.quantize_weight

    def listen(*args):
        weight, counts = original(*args)
        found.append(weight)
        return weight, counts

    monkeypatch.setattr(pack_pass, "quantize_weight", listen)
    return found


def unpacked_on_llvm(mod, weight_format: str, segment: bytes, shape: tuple) -> tuple:
    """Return integers and scales as the quantized module's own function unpacks them."""
    (function,) = [
        function
        for gv, function in mod.functions.items()
        if gv.name_hint.startswith(f"mq_unpack_{weight_format}_".replace("-", "_"))
    ]
    public = function.with_attr("global_symbol", "main")
    built = build_for_llvm(tvm.IRModule({"main": public}))
    groups, out, inputs = shape
    values = tvm.runtime.tensor(np.empty(shape, np.int32))
    scales = tvm.runtime.tensor(
        np.empty((groups, -(-inputs // WEIGHT_FORMATS[weight_format].group), out), np.float32)
    )
    built["main"](tvm.runtime.tensor(np.frombuffer(segment, np.uint8)), values, scales)
    return values.numpy(), scales.numpy()


FIRST = {case[1]: case for case in reversed(CASES)}
QUICK = [case for name, case in FIRST.items() if name in DISTINCT]
"""The first case of each format: what a convolution adds is the machine's, not the method's."""


@pytest.mark.parametrize(
    ("kind", "method", "weight_format", "calibrated"),
    [
        pytest.param(
            kind,
            *case,
            marks=[] if kind == "linear" or case in QUICK else pytest.mark.slow,
        )
        for kind in MODELS
        for case in CASES
    ],
)
def test_the_same_integers(returned, kind, method, weight_format, calibrated):
    body, ones = MODELS[kind]
    recipe = Recipe("", "", method, weight_format, "mx-int8")
    samples = [make.numbers(*ones.shape, seed=seed) for seed in (1, 2)] if calibrated else None
    state = compile_model(
        make.module(body, ones.shape),
        Options(recipe=recipe, arch="tiny-4x4", calibration=samples, graph=False),
    )
    assert len(returned) == (1 if kind == "linear" else GROUPS)
    shape = (len(returned), *returned[0].slots.shape)
    records = read_records(state.quantized).layers
    (symbol,) = [name for name, row in records.items() if row.weights]
    segment = Program.from_bytes(state.program.to_bytes()).functions[symbol].weights
    loaded = unpack(segment, weight_format, *shape[1:])
    values, scales = unpacked_on_llvm(state.quantized, weight_format, segment, shape)
    for group, (given, stored) in enumerate(zip(returned, loaded, strict=True)):
        wanted = integers(given)
        assert wanted[0].any()
        for found in (integers(stored), (values[group], scales[group])):
            np.testing.assert_array_equal(found[0], wanted[0])
            np.testing.assert_array_equal(found[1], wanted[1])
    (llvm,) = make.run_llvm(state.quantized, [ones])
    np.testing.assert_array_equal(llvm, expected(kind, returned))
    for mode in ("fast", "structural"):
        (output,) = Session(state.executable, mode=mode).run(ones).outputs
        np.testing.assert_array_equal(output.view(np.int32), llvm.view(np.int32))
