"""Every emitted instruction counts: a program that lost one, or one bit, never passes unnoticed.

Shapes are chosen so that no stale tile equals the one that belongs there. With several tiles of
rows there are three groups of inputs: two would lie in the two slots of the weight buffer for
good, and a panel that is loaded again could go astray and still be there.
"""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tvm
import tvm_ffi

from microscopiq.compiler.kinds.registry import emit, scheduled
from microscopiq.compiler.operators import Conv, Gemm, Quantize
from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.compiler.tiling.legal import plain_tile
from microscopiq.compiler.tiling.tile import REPLAY
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import IsaError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Program
from microscopiq.target.isa.spec import AFFINE
from microscopiq.target.packing import pack

TINY = dataclasses.replace(load_arch("tiny-4x4"), replay_columns=8)
BASE_BITS, STRIDE_BITS = 40, 32
WEIGHT_INSTRUCTIONS = (
    isa.DmaWeight,
    isa.Preload,
    isa.PreloadRows,
    isa.PreloadReplay,
    isa.ReconConfig,
)
# Channels, image, kernel, strides, padding, dilation.
CONV = Conv(15, 7, 6, 3, 3, 2, 1, 1, 0, 2, 1, 1, 2)
REPLAYED = Gemm(1, 1, 33, 12, 261, "ms4", bias=True)
OPERATORS = {
    "linear replayed": REPLAYED,
    "linear": Gemm(1, 1, 33, 12, 261, "ms4", bias=True, low=0.0),
    "linear two groups": Gemm(1, 1, 17, 12, 135, "ms4", bias=True, residual=True, low=0.0),
    "linear two blocks": Gemm(1, 1, 17, 130, 10, "ms4", bias=True, low=0.0),
    "requantized": Gemm(1, 1, 17, 130, 10, "int4", bias=True, requantize=True),
    "attention": Gemm(3, 1, 33, 10, 11, ""),
    "attention two groups": Gemm(2, 1, 33, 5, 135, ""),
    "conv": Gemm(2, 2, CONV.out_height * CONV.out_width, 12, 135, "ms4", CONV, bias=True),
    "quantize": Quantize(70, 130, 128),
    "quantize image": Quantize(3, 2500, 2500),
}


def program_function(op):
    """Return an operator's function and random inputs, none of them zero."""
    rng, segment = np.random.default_rng(0), b""
    if isinstance(op, Gemm) and op.weight_format:
        real = (rng.standard_t(3, (op.conv_groups, op.n, op.k)) * 0.05).astype(np.float32)
        method = "rtn" if op.weight_format == "int4" else "microscopiq"
        segment = pack([quantize_weight(method, w, op.weight_format, "test")[0] for w in real])
    # One way to tile for all: what is checked is the instructions, not the choice of a tile.
    tile = plain_tile(op, TINY) if isinstance(op, Gemm) else None
    if op == REPLAYED:
        tile = dataclasses.replace(tile, outliers=REPLAY)
    function = emit(scheduled(op, TINY, tile).mod["main"], TINY, "f", "test", segment)
    inputs = []
    for argument in function.arguments:
        if argument.is_output:
            continue
        if argument.dtype == "float32":
            inputs.append(rng.standard_normal(argument.shape).astype(np.float32) * 4)
        elif "exponent" in argument.name:
            inputs.append(rng.integers(-9, -4, argument.shape).astype(np.int8))
        else:
            inputs.append(rng.integers(1, 128, argument.shape).astype(np.int8))
            inputs[-1][rng.random(argument.shape) < 0.5] *= -1
    return function, inputs


def module_of(function):
    create = tvm.get_global_func("microscopiq.runtime.create")
    return create(Program.for_arch(TINY, {"f": function}).to_bytes())


def run(function, inputs, timing=False):
    """Return the outputs' bytes, or None for a program that is refused."""
    outputs = [np.zeros(a.shape, a.dtype) for a in function.arguments if a.is_output]
    try:
        module = module_of(function)
        module["microscopiq.set_timing"](timing)
        module["f"](*map(tvm_ffi.from_dlpack, [*inputs, *outputs]))
    except (IsaError, SimError):
        return None
    return b"".join(output.tobytes() for output in outputs)


def with_code(function, code):
    return dataclasses.replace(function, code=tuple(code), notes={})


@functools.cache
def emitted(name):
    """Return function, inputs and the right outputs of an operator."""
    function, inputs = program_function(OPERATORS[name])
    expected = run(function, inputs, timing=True)
    assert expected is not None and any(expected)
    return function, inputs, expected


@pytest.mark.parametrize("name", OPERATORS)
def test_no_instruction_can_be_dropped(name):
    function, inputs, expected = emitted(name)
    survivors = []
    for index, instruction in enumerate(function.code):
        if isinstance(instruction, isa.Break):
            continue  # it saves time, see below
        code = function.code[:index] + function.code[index + 1 :]
        if run(with_code(function, code), inputs, timing=True) == expected:
            survivors.append(f"{index}: {instruction}")
    assert not survivors, "\n".join(survivors)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_break_saves_the_time_of_planes_without_inputs(name):
    function, inputs, expected = emitted(name)
    without = [i for i in function.code if not isinstance(i, isa.Break)]
    op = OPERATORS[name]
    # Unfolded panels of several lengths have empty planes instead.
    breaks = getattr(op, "k", 0) > 128 and op != REPLAYED
    assert len(without) == len(function.code) - breaks
    if len(without) == len(function.code):
        return
    slower = with_code(function, without)
    assert run(slower, inputs, timing=True) == expected
    records = []
    for code in (function, slower):
        module = module_of(code)
        module["microscopiq.time"]("f")
        records += json.loads(str(module["microscopiq.stats"]()))
    leaving, staying = records
    assert leaving["cycles"] < staying["cycles"]
    assert leaving["macs"] == staying["macs"]


@pytest.mark.parametrize("name", [n for n, op in OPERATORS.items() if isinstance(op, Gemm)])
def test_no_bit_of_a_weight_address_can_flip(name):
    function, inputs, expected = emitted(name)
    survivors, depth, tried = [], 0, 0
    for index, instruction in enumerate(function.code):
        depth += isinstance(instruction, isa.Loop) - isinstance(instruction, isa.EndLoop)
        if not isinstance(instruction, WEIGHT_INSTRUCTIONS):
            continue
        for what, changed in flips(instruction, depth):
            tried += 1
            code = [*function.code[:index], changed, *function.code[index + 1 :]]
            if run(with_code(function, code), inputs) == expected:
                survivors.append(f"{index}: {instruction}: {what}")
    assert tried and not survivors, "\n".join(survivors)


def flips(instruction, depth):
    """Yield an instruction once per bit of its address operands' bases and strides in use."""
    for operand, kind, _ in instruction.operands():
        if kind is not AFFINE:
            continue
        address = getattr(instruction, operand)
        for bit in range(BASE_BITS):
            changed = dataclasses.replace(address, base=address.base ^ 1 << bit)
            yield f"{operand}.base bit {bit}", replace(instruction, operand, changed)
        for level in range(depth):
            for bit in range(STRIDE_BITS):
                strides = np.array(address.strides, np.int32)
                strides.view(np.uint32)[level] ^= np.uint32(1 << bit)
                changed = dataclasses.replace(address, strides=tuple(map(int, strides)))
                name = f"{operand}.strides[{level}] bit {bit}"
                yield name, replace(instruction, operand, changed)


def replace(instruction, operand, value):
    return dataclasses.replace(instruction, **{operand: value})
