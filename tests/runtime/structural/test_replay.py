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
from microscopiq.target.errors import SimError
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
    group = WEIGHT_FORMATS[name].group
    m, k, n = (data.draw(st.integers(1, most)) for most in (5, min(40, group), 37))
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


def refused(code, keys=None, weight=None):
    """Return the message of an instruction that a run refuses; a plane has 8 rows, 16 columns."""
    arch = dataclasses.replace(SMALL, **(keys or {}))
    function = program(SMALL, random_weight("ms4", 20, 9), 2)
    loads = [i for i in function.code if isinstance(i, isa.DmaLoad | isa.DmaWeight)]
    clips = [i for i in function.code if isinstance(i, isa.Clip)][:4]
    code = (*ordered([*clips, *loads, code]), isa.End())
    segment = function.weights if weight is None else pack([weight])
    changed = dataclasses.replace(function, code=code, weights=segment)
    with pytest.raises(SimError) as error:
        results(arch, changed, np.zeros((2, function.arguments[0].shape[1]), np.int8), (2, 20))
    return str(error.value)


def part(format_code=4, row0=0, col0=0, rows=3, cols=0):
    return isa.PreloadReplay(at(), at(), format_code, at(row0), at(col0), rows, cols)


def test_what_is_refused():
    """Extent registers 0 to 3 hold 2, 9, 20 and 8."""
    assert "replays nothing: replay_columns = 0" in refused(part(), {"replay_columns": 0})
    assert "row -1 of an unfolded panel" in refused(part(row0=-1, cols=3))
    assert "columns 0 + 2 cut a micro-block" in refused(part())
    assert "columns 16 + 8; the panel" in refused(part(col0=16, cols=3))
    plain = random_weight("int4", 20, 9)
    assert "format int4 has no outliers; allowed: ms2, ms4" in refused(
        part(1, cols=3), weight=plain
    )


def test_an_outlier_too_far_over_the_base_is_refused():
    weight = random_weight("ms4", 8, 4, flagged=0)
    weight.isf[:, :] = -20
    weight.isf[0, 0] = 0  # 20 over the base, and its outliers 5 more
    weight.pairs[0, 0, 0], weight.relative_exponent[0, 0] = (1, 0), 5
    function = program(SMALL, weight, 1)
    with pytest.raises(SimError, match="panel row 0, column 1: outlier exponent E - e = 25"):
        results(SMALL, function, np.zeros((1, 4), np.int8), (1, 8))


def rows_of(weight, columns, strip):
    """Return the rows of a panel's planes, by what the bytes were made of."""
    found, digits = [], 2
    there = (weight.pairs[..., 0] != weight.pairs[..., 1]).any(2)
    exponents = np.where(there, weight.relative_exponent, -1)
    for first in range(0, len(weight.slots), columns):
        blocks_of = [
            exponents[at // 8 : min(at + strip, first + columns) // 8 or None]
            for at in range(first, min(first + columns, len(weight.slots)), strip)
        ]
        lists = [sum(len(set(column[column >= 0])) for column in b.T) for b in blocks_of]
        found.append(weight.slots.shape[1] + digits * max(lists))
    return found


@pytest.mark.parametrize("name", WITH_OUTLIERS)
@pytest.mark.parametrize(("columns", "strip"), [(16, 8), (64, 16), (64, 64), (32, 1024)])
def test_how_many_rows_an_unfolded_panel_has(name, columns, strip):
    group = WEIGHT_FORMATS[name].group
    weight = random_weight(name, 128, min(100, group), flagged=0.1, far=2)
    expected = rows_of(weight, columns, min(strip, columns))
    assert unfolded_rows(pack([weight]), columns, strip).tolist() == [expected]
    # The core lists as many: a plane behind them is empty, the last row isn't.
    few = random_weight(name, 16, inputs := min(30, group), flagged=0.1, far=2)
    (last,) = unfolded_rows(pack([few]), 16, 8)[0]
    function = program(SMALL, few, 2)
    code = [i if not isinstance(i, isa.Loop) else isa.Loop(1) for i in function.code]
    for row0, loads in ((last - 1, 1), (last, 0)):
        changed = [
            dataclasses.replace(i, row0=at(row0)) if isinstance(i, isa.PreloadReplay) else i
            for i in code
        ]
        changed = [i for i in changed if not isinstance(i, isa.DmaStore | isa.Matmul)]
        _, record = results(SMALL, dataclasses.replace(function, code=tuple(changed)),
                            np.zeros((2, inputs), np.int8), (2, 16))  # fmt: skip
        assert record["accesses"]["weights"] == loads * min(16, SMALL.columns(few.row.bits))
