"""OliVe's array as it steps: decoders at the edge, PEs of 4 bits by 4, halves of activations."""

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
from microscopiq.target.errors import IsaError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem
from microscopiq.target.packing import pack
from microscopiq.target.weight import integers
from tests.runtime.gemm_program import at, gemm, random_weight
from tests.runtime.ordered import ordered

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
BIG = load_arch("olive-64x64")
SMALL = dataclasses.replace(BIG, array_rows=8, array_cols=8)
ODD = dataclasses.replace(BIG, array_rows=7, array_cols=8)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
MODES = ("fast", "structural")


def tile(arch, x, weight, row0=0, rows=None) -> Function:
    """Return a function of one plane: sums of x (m, rows) with panel rows from `row0` on."""
    m, k = x.shape
    n = len(weight.slots)
    code = [isa.Clip(reg, size, size, at()) for reg, size in enumerate((m, k, n, 1))]
    code += [isa.DmaLoad(Mem.SPAD, at(), k, 0, at(), k, 1, 1, 0, 1)]
    code += [isa.DmaWeight(at(), at(), arch.wbuf_bytes)]
    code += [isa.Preload(at(), at(), weight.row.code, at(row0), at(), 1, 2)]
    code += [isa.Matmul(at(), at(), k, at(), 4 * n, 0, at(0))]
    code += [isa.DmaStore(1, at(), 4 * n, 4, Mem.ACC, at(), 4 * n, 4, 0, 2), isa.End()]
    arguments = (Argument("x", "int8", (m, k)), Argument("y", "float32", (m, n), True))
    return Function("tile", "", arguments, tuple(ordered(code)), pack([weight]))


def both(arch, function, x, n):
    """Return the sums and the record of a tile, the same in both modes and in the reference."""
    module = create(Program.for_arch(arch, {"tile": function}).to_bytes())
    results = []
    for mode in MODES:
        found = np.zeros((len(x), n), np.float32)
        module["microscopiq.set_mode"](mode)
        module["microscopiq.reset"]()
        module["tile"](*map(tvm_ffi.from_dlpack, (x, found)))
        results.append((found.view(np.int32).tolist(), json.loads(module["microscopiq.stats"]())))
    assert results[0] == results[1]
    judge = np.zeros((len(x), n), np.float32)
    run(function, arch, [x, judge])
    assert judge.view(np.int32).tolist() == results[0][0]
    return np.array(results[0][0]), results[0][1][0]


@settings(max_examples=40, phases=PHASES)
@given(st.data())
def test_planes_of_pairs(data):
    """Parts of panels that begin or end within a pair, too."""
    arch = dataclasses.replace(
        data.draw(st.sampled_from([SMALL, ODD])), edge_trimming=data.draw(st.integers(0, 1))
    )
    inputs, n = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 8))
    row0 = data.draw(st.integers(0, inputs - 1))
    rows = data.draw(st.integers(1, min(inputs - row0, arch.array_rows)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    weight = random_weight("olive4", n, inputs, 1)
    # Victims are rare in codes at random.
    weight.slots[rng.random(weight.slots.shape) < 0.3] = 8
    x = rng.integers(-8, 8, (data.draw(st.integers(1, 6)), rows), np.int8)
    found, record = both(arch, tile(arch, x, weight, row0), x, n)
    values = integers(weight)[0][:, row0 : row0 + rows].astype(np.int64)
    np.testing.assert_array_equal(found, x.astype(np.int64) @ values.T)
    assert record["units"]["array"]["busy"] == len(x)


@settings(max_examples=25, phases=PHASES)
@given(st.data())
def test_wide_weights_take_halves_of_activations(data):
    """Codes of 8 bits, -128 among them, beside weights of 8 bits: two cycles a row."""
    arch = dataclasses.replace(SMALL, edge_trimming=data.draw(st.integers(0, 1)))
    m, k, n = (data.draw(st.integers(1, most)) for most in (6, 8, 4))
    seed = data.draw(st.integers(0, 1 << 32))
    x = np.random.default_rng(seed).integers(-128, 128, (m, k), np.int8)
    weight = random_weight("int8", n, k, seed)
    found, record = both(arch, tile(arch, x, weight), x, n)
    np.testing.assert_array_equal(found, x.astype(np.int64) @ integers(weight)[0].T)
    assert record["units"]["array"]["busy"] == 2 * m


@pytest.mark.parametrize("name", ["olive4", "int4"])
def test_activations_wider_than_a_pe_are_refused(name):
    weight, x = random_weight(name, 4, 6), np.zeros((3, 6), np.int8)
    x[1, 2] = -8
    both(SMALL, tile(SMALL, x, weight), x, 4)
    for code in (8, -9, 127):
        x[2, 5] = code
        function = tile(SMALL, x, weight)
        module = create(Program.for_arch(SMALL, {"tile": function}).to_bytes())
        message = (
            rf"activation row 2, input 5: code {code} beside weights of 4 bits; allowed: -8 to"
        )
        y = np.zeros((3, 4), np.float32)
        for mode in MODES:
            module["microscopiq.set_mode"](mode)
            with pytest.raises(SimError, match=message):
                module["tile"](*map(tvm_ffi.from_dlpack, (x, y)))
        with pytest.raises(SimError, match="activations beyond the 4 bits"):
            run(function, SMALL, [x, y])


def test_a_machine_without_decoders_refuses_pairs():
    plain = dataclasses.replace(BIG, pair_decoders=0, pe_activation_bits=8)
    weight, x = random_weight("olive4", 4, 6), np.ones((1, 6), np.int8)
    module = create(Program.for_arch(plain, {"tile": tile(plain, x, weight)}).to_bytes())
    with pytest.raises(SimError, match="olive4 has outlier-victim pairs, but pair_decoders = 0"):
        module["tile"](*map(tvm_ffi.from_dlpack, (x, np.zeros((1, 4), np.float32))))


def test_the_loader_refuses_halves_without_what_joins_them():
    wrong = dataclasses.replace(BIG, recon_units=1)
    with pytest.raises(
        IsaError, match="pe_activation_bits = 4 with pe_weight_bits = 4, multi_prec"
    ):
        create(Program.for_arch(wrong, {}).to_bytes())


@pytest.mark.parametrize(("name", "bits"), [("olive4", 4), ("int8", 8)])
def test_a_gemm_of_many_tiles_as_it_steps(name, bits):
    weight, rng = random_weight(name, 12, 150), np.random.default_rng(0)
    x, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 150), 12))
    found = []
    for mode in MODES:
        function = gemm(SMALL, weight, 5, bits)
        module = create(Program.for_arch(SMALL, {"gemm": function}).to_bytes())
        module["microscopiq.set_mode"](mode)
        y = np.zeros((5, 12), np.float32)
        module["gemm"](*map(tvm_ffi.from_dlpack, (x, bias, y)))
        found.append((y.tobytes(), str(module["microscopiq.stats"]())))
    assert found[0] == found[1]
