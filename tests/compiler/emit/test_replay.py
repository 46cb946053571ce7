"""Programs that replay outliers: the bits of those that merge them, in every mode and on LLVM."""

import dataclasses
import json

import numpy as np
import pytest
import tvm
import tvm_ffi

from microscopiq import Session
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.kinds.registry import emit, emit_tile, scheduled
from microscopiq.compiler.operators import Conv, Gemm
from microscopiq.compiler.options import Options
from microscopiq.compiler.tiling.legal import legal_tiles
from microscopiq.compiler.tiling.tile import RECON, REPLAY
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Program
from microscopiq.target.packing import pack
from tests.compiler import relax_modules as make
from tests.runtime.gemm_program import random_weight

BOTH = dataclasses.replace(load_arch("microscopiq-8x8"), replay_columns=16)
"""Merges or replays outliers, as the tile says."""
BY_ROW = {"row_release": 1, "weight_planes": 3, "weight_buses": 2}
CASES = {
    # One plane of the panel itself, some of a group, and groups that end early.
    "small": (Gemm(1, 1, 3, 10, 5, "ms4"), {}),
    "ragged": (Gemm(1, 1, 3, 20, 150, "ms4"), {}),
    "two bits": (Gemm(1, 1, 2, 140, 20, "ms2"), BY_ROW),
    "columns inside": (Gemm(1, 1, 2, 24, 147, "ms4"), {"array_rows": 32}),
    "taller than the group": (Gemm(1, 1, 4, 20, 40, "ms2"), {"array_rows": 64}),
    "conv": (
        Gemm(2, 1, 9, 20, 36, "ms4", Conv(4, 5, 5, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1), bias=True),
        BY_ROW,
    ),
    "grouped conv": (Gemm(1, 2, 9, 9, 36, "ms2", Conv(4, 5, 5, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1)), {}),
}


def tiles_of(op, arch, way):
    """Return a tile for each order of loops."""
    tiles = [tile for tile in legal_tiles(op, arch) if tile.outliers == way]
    return [next((t for t in tiles if t.order == order), tiles[0]) for order in ("columns", "rows")]


def outputs(function, arch, arrays, mode):
    """Return what a function gives in a mode, and its record."""
    module = tvm.get_global_func("microscopiq.runtime.create")(
        Program.for_arch(arch, {"f": function}).to_bytes()
    )
    module["microscopiq.set_mode"](mode)
    out = [np.zeros(a.shape, a.dtype) for a in function.arguments if a.is_output]
    module["f"](*map(tvm_ffi.from_dlpack, [*arrays, *out]))
    (record,) = json.loads(str(module["microscopiq.stats"]()))
    return out[0].view(np.int32), record


@pytest.mark.parametrize("case", CASES)
def test_bits_and_cycles(case):
    op, keys = CASES[case]
    arch = dataclasses.replace(BOTH, spad_bytes=1 << 15, **keys)
    weights = [random_weight(op.weight_format, op.n, op.k, c, flagged=0.2)
               for c in range(op.conv_groups)]  # fmt: skip
    segment = pack(weights)
    for merged, replayed in zip(*(tiles_of(op, arch, way) for way in (RECON, REPLAY)), strict=True):
        one = emit_tile(op, merged, arch, "f", "layer", segment)
        other = emit_tile(op, replayed, arch, "f", "layer", segment)
        assert not any(isinstance(i, isa.ReconConfig | isa.Preload) for i in other.code)
        rng = np.random.default_rng(0)
        arrays = [
            rng.standard_normal(a.shape).astype(a.dtype)
            if a.dtype == "float32"
            else rng.integers(*((-9, 9) if "exponent" in a.name else (-127, 128)), a.shape, np.int8)
            for a in other.arguments
            if not a.is_output
        ]
        expected, _ = outputs(one, arch, arrays, "fast")
        found, record = outputs(other, arch, arrays, "fast")
        np.testing.assert_array_equal(found, expected)
        stepped, measured = outputs(other, arch, arrays, "structural")
        np.testing.assert_array_equal(stepped, expected)
        assert record == measured
        judged = np.zeros(expected.shape, np.float32)
        run(other, arch, [*arrays, judged])
        np.testing.assert_array_equal(judged.view(np.int32), expected)


def test_tir_and_table_give_one_program():
    op = Gemm(1, 1, 5, 140, 150, "ms4")
    segment = pack([random_weight("ms4", 140, 150)])
    for tile in tiles_of(op, BOTH, REPLAY):
        read = emit(scheduled(op, BOTH, tile).mod["main"], BOTH, "f", "layer", segment)
        assert read == emit_tile(op, tile, BOTH, "f", "layer", segment)


@pytest.mark.parametrize("recipe", ["microscopiq-w4a8", "microscopiq-w2a8"])
@pytest.mark.parametrize("graph", [False, True])
def test_models_on_a_machine_without_recon(graph, recipe):
    """Bits are those of LLVM, cycles those of the stepped array; joined functions, too."""
    arch = dataclasses.replace(BOTH, recon_units=0, weight_planes=3, weight_buses=2, row_release=1)

    def body(emit, x):
        y = make.conv(emit, x, 20, padding=1)
        return make.conv(emit, make.relu(emit, y), 6, (1, 1), seed=3)

    mod = make.module(body, (2, 4, 5, 5))
    inputs = make.inputs_of(mod)
    options = Options(recipe=recipe, arch=arch, calibration=[(*inputs,)], graph=graph)
    state = compile_model(mod, options)
    fast, stepped = (Session(state.executable, mode=m).run(*inputs) for m in ("fast", "structural"))
    make.assert_equal_bits(make.run_llvm(state.quantized, inputs), fast.outputs)
    make.assert_equal_bits(fast.outputs, stepped.outputs)
    assert [call["cycles"] for call in fast.calls] == [call["cycles"] for call in stepped.calls]
