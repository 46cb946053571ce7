"""Which memories an instruction reads and writes, as target/isa/instructions.py declares it.

Each instruction of a unit runs in a program of its own, once with it and once without: what the
core counted more of is what it touched.
"""

import dataclasses
import json

import numpy as np
import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import REGISTRY, Mem, Unit
from microscopiq.target.packing import pack
from microscopiq.target.weight import empty
from tests.runtime.gemm_program import at
from tests.runtime.ordered import ordered

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
TINY = dataclasses.replace(load_arch("tiny-4x4"), replay_columns=8)
UNITS = [cls for cls in REGISTRY.values() if cls.unit not in (None, Unit.CONTROL)]


def segment() -> bytes:
    """Return 4 x 8 weights of ms4, an outlier in the first row."""
    weight = empty("ms4", 8, 4)
    weight.pairs[0, 0, 0], weight.relative_exponent[0, 0] = (1, 0), 2
    return pack([weight])


SEGMENT = segment()
ONE, FOUR, EIGHT, MANY = range(4)
"""Extent registers of 1, 4, 8 and 256."""
PANEL, ROWS = 512, 0
"""Where in wbuf the panel lies, behind bytes that were loaded."""
PART = (at(PANEL), 4, at(), at(), FOUR, EIGHT)
FILL = [isa.DmaLoad(mem, at(), 0, 0, at(), 0, 1, 1, ONE, MANY) for mem in Mem]
LOAD_PANEL = isa.DmaWeight(at(PANEL), at(), 256)
PRELOAD, CONFIGURE = isa.Preload(at(), *PART), isa.ReconConfig(at(), *PART)
BOX = (at(), 16, FOUR, FOUR)
CASES = {
    isa.DmaLoad: ([], isa.DmaLoad(Mem.ACC, at(), 0, 0, at(), 0, 1, 1, ONE, MANY)),
    isa.DmaIm2col: (
        [],
        isa.DmaIm2col(
            *(Mem.ACC, at(), 4, 0, at(), at(), at(), FOUR, FOUR, 4, 4, 4),
            *(1, 1, 1, 1, 0, 0, 1, 1),
        ),
    ),
    isa.DmaGather: (
        FILL,
        isa.DmaGather(Mem.ACC, at(), 8, 0, at(), 0, 1, 1, at(), 4, 1 << 26, FOUR, EIGHT),
    ),
    isa.DmaWeight: ([], LOAD_PANEL),
    isa.DmaStore: (FILL, isa.DmaStore(1, at(), 0, 1, Mem.OBUF, at(), 0, 1, ONE, EIGHT)),
    isa.Preload: ([LOAD_PANEL], PRELOAD),
    isa.PreloadRows: (FILL, isa.PreloadRows(at(), at(ROWS), 4, FOUR, FOUR)),
    isa.PreloadReplay: ([LOAD_PANEL], isa.PreloadReplay(at(), *PART)),
    isa.ReconConfig: ([LOAD_PANEL, PRELOAD], CONFIGURE),
    isa.Matmul: (
        [*FILL, LOAD_PANEL, PRELOAD, CONFIGURE],
        isa.Matmul(at(), at(), 4, at(), 32, FOUR, at(1)),
    ),
    isa.Drain: (
        [*FILL, LOAD_PANEL],
        isa.Drain(
            *(at(), 16, at(), 16, 4, at(PANEL), 0, at(), 1, FOUR, FOUR),
            at(1),
        ),
    ),
    isa.DrainInt: (FILL, isa.DrainInt(at(), 16, at(), 16, FOUR, FOUR, at(1))),
    isa.Add: (FILL, isa.Add(at(), 16, at(64), 16, FOUR, FOUR)),
    isa.Clamp: (FILL, isa.Clamp(at(), 16, 0.0, 1.0, FOUR, FOUR)),
    isa.Absmax: (FILL, isa.Absmax(at(), 1, *BOX, at(1), 8)),
    isa.Quant: (FILL, isa.Quant(at(128), 4, at(), 1, *BOX, 8)),
    isa.Fill: ([], isa.Fill(at(), 16, 1.0, FOUR, FOUR)),
    isa.FillInt: ([], isa.FillInt(at(), 16, -1, FOUR, FOUR)),
    isa.Map: (FILL, isa.Map(2, at(), 16, at(64), 16, 4, at(), 16, 4, at(), 0, 0, FOUR, FOUR)),
    isa.Reduce: (FILL, isa.Reduce(1, at(128), 4, *BOX)),
    isa.ReducePart: (FILL, isa.ReducePart(1, at(128), 64, *BOX, at())),
}
"""By class: what comes before it, and the instruction, with all that it can read."""


def counters(code) -> dict[str, int]:
    """Return what a program's run counts, by name of what it reads or writes."""
    clips = [isa.Clip(reg, size, size, at()) for reg, size in enumerate((1, 4, 8, 256))]
    arguments = (Argument("x", "int8", (256,)), Argument("y", "int8", (256,), True))
    function = Function("f", "", arguments, (*clips, *ordered(code), isa.End()), SEGMENT)
    module = create(Program.for_arch(TINY, {"f": function}).to_bytes())
    # Bytes of 1: small floats, exponents of 1, weights of 1.
    tensors = [np.ones(256, np.int8), np.zeros(256, np.int8)]
    module["f"](*map(tvm_ffi.from_dlpack, tensors))
    (record,) = json.loads(module["microscopiq.stats"]())
    found = {}
    for name, traffic in {**record["memory_bytes"], "dram": record["dram_bytes"]}.items():
        found[f"reads {name}"], found[f"writes {name}"] = traffic["read"], traffic["written"]
    # A plane is written slot by slot, or row by row of its merges, and read by products.
    found["writes plane"] = record["accesses"]["weights"] + record["outlier_rows"]
    found["reads plane"] = record["macs"]
    return found


def test_every_instruction_of_a_unit_has_a_case():
    assert set(CASES) == set(UNITS)


@pytest.mark.parametrize("cls", UNITS, ids=lambda cls: cls.mnemonic)
def test_the_core_touches_what_is_declared(cls):
    before, instruction = CASES[cls]
    without, with_it = counters(before), counters([*before, instruction])
    touched = {name for name, count in with_it.items() if count > without[name]}
    named = {"mem": Mem(instruction.mem).name.lower()} if hasattr(instruction, "mem") else {}
    declared = {f"reads {named.get(name, name)}" for name in cls.reads}
    declared |= {f"writes {named.get(name, name)}" for name in cls.writes}
    assert touched == declared
