"""`preload.replay`: outliers in array rows of their own, in all modes and by the reference."""

import dataclasses
import json

import numpy as np
import pytest
import tvm_ffi
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem
from microscopiq.target.packing import pack
from microscopiq.target.replay import unfolded_rows
from microscopiq.target.weight import blocks, integers
from tests.runtime.gemm_program import at, random_weight
from tests.runtime.ordered import ordered

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
SMALL = dataclasses.replace(load_arch("microscopiq-8x8"), recon_units=0, replay_columns=8)
WITH_OUTLIERS = [name for name, row in WEIGHT_FORMATS.items() if row.has_outliers]
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def program(arch, weight, m, step=None, planes=2):
    """Return y = x W^T of int8 rows and one panel: all planes of it, one after the other."""
    n, k = weight.slots.shape
    step, tile = step or arch.array_rows, arch.columns(weight.row.bits)
    segment = pack([weight])
    rows = int(unfolded_rows(segment, tile, arch.replay_columns).max())
    plane = at(0, turns=(1, 1), slots=planes, slot_step=1)
    part = (plane, at(), weight.row.code, at(0, 0, step), at(0, tile), 3, 4)
    sums = at(0, 4 * tile)
    code = [isa.Clip(reg, size, size, at()) for reg, size in enumerate((m, k, n, step))]
    code += [isa.DmaLoad(Mem.SPAD, at(), k, 0, at(), k, 1, 1, 0, 1)]
    code += [isa.DmaWeight(at(), at(), arch.wbuf_bytes), isa.Loop(blocks(n, tile))]
    code += [isa.Clip(4, tile, n, at(0, tile)), isa.Loop(blocks(rows, step))]
    code += [isa.PreloadReplay(*part)]
    code += [isa.Matmul(plane, at(), k, sums, 4 * n, 0, at(0, 0, 1)), isa.EndLoop(), isa.EndLoop()]
    code += [isa.DmaStore(1, at(), 4 * n, 4, Mem.ACC, at(), 4 * n, 4, 0, 2), isa.End()]
    arguments = (Argument("x", "int8", (m, k)), Argument("y", "float32", (m, n), True))
    return Function("f", "", arguments, tuple(ordered(code)), segment)


def results(arch, function, x, shape):
    """Return the sums of all modes, all equal, and the record, the same in both."""
    module = create(Program.for_arch(arch, {"f": function}).to_bytes())
    found, records = [], []
    for mode in ("fast", "structural"):
        y = np.zeros(shape, np.float32)
        module["microscopiq.set_mode"](mode)
        module["microscopiq.reset"]()
        module["f"](*map(tvm_ffi.from_dlpack, [x, y]))
        found.append(y.view(np.int32))
        records += json.loads(module["microscopiq.stats"]())
    np.testing.assert_array_equal(*found)
    assert records[0] == records[1]
    return found[0], records[0]


@pytest.mark.parametrize("name", WITH_OUTLIERS)
@settings(max_examples=25, phases=PHASES)
@given(st.data())
def test_sums_are_those_of_the_merged_weights(name, data):
    arch = dataclasses.replace(
        SMALL,
        replay_columns=data.draw(st.sampled_from([8, 16, 1024])),
        edge_trimming=data.draw(st.integers(0, 1)),
        recon_segment_columns=data.draw(st.sampled_from([0, 8])),
        pe_weight_bits=data.draw(st.sampled_from([4, 8])),
        weight_buses=data.draw(st.sampled_from([1, 3])),
        row_release=data.draw(st.integers(0, 1)),
    )
    m, k, n = (data.draw(st.integers(1, most)) for most in (5, 40, 37))
    seed, flagged = data.draw(st.integers(0, 1 << 32)), data.draw(st.sampled_from([0, 0.1, 0.5, 1]))
    weight = random_weight(name, n, k, seed, flagged=flagged)
    function = program(arch, weight, m, data.draw(st.integers(2, 8)))
    x = np.random.default_rng(seed).integers(-128, 128, (m, k), np.int8)
    found, _ = results(arch, function, x, (m, n))
    expected = x.astype(np.int64) @ integers(weight)[0].astype(np.int64).T
    np.testing.assert_array_equal(found, expected)
    y = np.zeros((m, n), np.float32)
    run(function, arch, [x, y])
    np.testing.assert_array_equal(y.view(np.int32), expected)
