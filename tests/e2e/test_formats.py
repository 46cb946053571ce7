"""Layers of several number formats in one model: groups and scales differ from layer to layer."""

import numpy as np
import pytest
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.quant.recipe import Override, Recipe
from microscopiq.compiler.verify import run_reference
from microscopiq.runtime.session import Session
from microscopiq.target.arch import load_arch
from tests.compiler import relax_modules as make
from tests.numpy_calls import check_calls

SHAPE = (2, 8, 5, 5)
FORMATS = ("mxfp4", "mxint6", "int4-g32", "nvfp4", "nvfp4", "int3")


def body(emit, x):
    """Return convolutions of all kinds, three linear layers in a row, and attention."""
    y = emit(op.nn.conv2d(x, make.const(8, 8, 3, 3)))
    y = emit(op.nn.relu(y))
    y = emit(op.nn.conv2d(y, make.const(8, 1, 2, 2), groups=8))
    y = emit(op.nn.conv2d(y, make.const(20, 8, 1, 1)))
    y = emit(op.reshape(y, (2, 80)))
    y = emit(op.matmul(y, make.const(80, 41)))
    y = emit(op.matmul(y, make.const(41, 35)))
    y = emit(op.matmul(y, make.const(35, 40)))
    heads = emit(op.reshape(y, (2, 4, 10)))
    return emit(op.matmul(heads, emit(op.permute_dims(heads, (0, 2, 1)))))


@pytest.fixture(scope="module")
def mixed():
    """Return the compiled model with a format for each layer, and its input."""
    mod = make.module(body, SHAPE)
    plain = compile_model(mod, Options(recipe="int8", arch="tiny-4x4", stop_after="quantize"))
    names = [row.layer for row in plain.layers.values() if row.weights]
    assert len(names) == len(FORMATS)
    overrides = [Override(name, "rtn", fmt) for name, fmt in zip(names, FORMATS, strict=True)]
    recipe = Recipe("mixed", "", "rtn", "int8", "mx-int8", tuple(overrides))
    return compile_model(mod, Options(recipe=recipe, arch="tiny-4x4")), make.numbers(*SHAPE)


def test_all_ways_of_computing_agree(mixed):
    state, x = mixed
    formats = tuple(row.weight_format for row in state.layers.values() if row.weights)
    assert formats == FORMATS and not state.host
    (expected,) = run_reference(state, [x])
    for mode in ("fast", "structural"):
        (found,) = Session(state.executable, mode=mode).run(x).outputs
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32), mode)
    assert check_calls(state.executable, [x], load_arch("tiny-4x4")) >= 1


def test_int8_rows_go_on_only_where_groups_are_theirs(mixed):
    """Of the chain of linear layers, int3 alone has groups of 128: the one before it gives int8."""
    state, _ = mixed
    chain = [row for row in state.layers.values() if row.kind == "linear"]
    assert ["requantize" in row.work.fused for row in chain] == [False, True, False]


def test_codes_are_loaded_and_integers_multiplied():
    """A codebook of 4 bits takes the array as int8 does, and the memory as int4 of its groups."""
    times, loaded = {}, {}
    for name in ("int4-g32", "int8", "mxfp4"):
        mod = make.module(lambda emit, x: emit(op.matmul(x, make.const(32, 128))), (64, 32))
        recipe = Recipe("", "", "rtn", name, "mx-int8")
        state = compile_model(mod, Options(recipe=recipe, arch="microscopiq-64x64"))
        result = Session(state.executable).run(make.numbers(64, 32))
        (call,) = [call for call in result.calls if call["macs"]]
        times[name] = call["units"]["array"]["busy"]
        loaded[name] = call["dram_bytes"]["read"]
    assert times["mxfp4"] == times["int8"] == 2 * times["int4-g32"]
    # fp16 scales of the one have a byte more than E8M0 of the other.
    assert loaded["int4-g32"] - loaded["mxfp4"] == 128
