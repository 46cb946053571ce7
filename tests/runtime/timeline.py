"""Programs of a few instructions, and what each unit did in which cycle: to be counted by hand.

The machine moves 8 bytes a cycle and has 4 lanes and 4 x 4 PEs; an array row holds 4 weights of 8
bits or 8 of 4. Cycle 0 is the one in which the first instruction of a program is dispatched.
"""

import dataclasses
import json

import numpy as np
import tvm_ffi

from microscopiq import runtime
from microscopiq.runtime.reports.trace_spans import SPAN, UNITS
from microscopiq.runtime.results.causes import CAUSES, IDLE
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Instruction, Mem
from microscopiq.target.packing import pack
from microscopiq.target.weight import QuantizedWeight, empty
from tests.runtime.gemm_program import at

TINY = load_arch("tiny-4x4")
FREE_DRAM = dataclasses.replace(TINY, dram_bandwidth_bytes_per_cycle=0, dram_latency_cycles=0)
EXTENTS = 16
ARGUMENTS = (Argument("x", "float32", (64,)), Argument("y", "float32", (64,), True))
MS4 = 4


def load(cycles: int) -> Instruction:
    return isa.DmaLoad(Mem.OBUF, at(), 64, 0, at(), 0, 0, 4, 2, cycles)


def store(cycles: int) -> Instruction:
    return isa.DmaStore(1, at(), 0, 0, Mem.OBUF, at(), 64, 4, 2, cycles)


def vector(cycles: int) -> Instruction:
    return isa.Clamp(at(), 64, 0.0, 1.0, 4, cycles)


def int8_plane(rows: int, cols: int = 4, plane: int = 0) -> Instruction:
    return isa.PreloadRows(at(plane), at(), 0, rows, cols)


def ms4_plane(rows: int, cols: int = 8, plane: int = 0, panel: int = 0) -> list[Instruction]:
    """Return the load of a panel, of its plane and of its outliers."""
    part = (at(plane), at(4096 * panel), MS4, at(), at(), rows, cols)
    loads = [isa.DmaWeight(at(4096 * panel), at(panel), 4096), isa.Preload(*part)]
    return [*loads, isa.ReconConfig(*part)]


def matmul(rows: int, plane: int = 0) -> Instruction:
    return isa.Matmul(at(plane), at(), 0, at(), 64, rows, at())


def ms4_weight(cols: int, rows: int, pairs: dict[tuple[int, int], list]) -> QuantizedWeight:
    """Return a weight with the (upper, lower) columns of each (micro-block, row) in `pairs`."""
    weight = empty("ms4", cols, rows)
    for (micro, row), columns in pairs.items():
        weight.pairs[micro, row, : len(columns)] = columns
        weight.relative_exponent[micro, row] = 0
    return weight


def module_of(arch: Arch, weights: tuple[QuantizedWeight, ...] = (), **programs: list):
    """Return a module of functions, each after clips of e0 to e15 to 0 to 15."""
    clips = [isa.Clip(reg, reg, reg, at()) for reg in range(EXTENTS)]
    functions = {
        name: Function(
            name, "", ARGUMENTS, (*clips, *code, isa.End()), pack(list(weights)) if weights else b""
        )
        for name, code in programs.items()
    }
    runtime.load()
    create = tvm_ffi.get_global_func("microscopiq.runtime.create")
    return create(Program.for_arch(arch, functions).to_bytes())


def timed(module, name: str) -> tuple[dict, np.ndarray]:
    """Return a function's record and its spans; both are the same when it is timed again."""
    module["microscopiq.reset"]()
    module["microscopiq.set_trace"](True)
    for _ in range(2):
        module["microscopiq.time"](name)
    (record, again) = json.loads(module["microscopiq.stats"]())
    (spans, spans_again) = (np.frombuffer(bytes(t), SPAN) for t in module["microscopiq.traces"]())
    assert record == again and (spans == spans_again).all()
    return record, spans


def timeline(code: list, arch: Arch = TINY, weights: tuple = ()) -> dict:
    """Return what each unit did when, as in ``busy 0-3, dma 3-13``, and the ``total``.

    It has been held against the record, where each unit's cycles add up to the total.
    """
    record, spans = timed(module_of(arch, weights, f=code), "f")
    start = EXTENTS * arch.sequencer_cycles
    found = {"total": record["cycles"] - start}
    for unit in UNITS:
        cycles, parts = dict.fromkeys(CAUSES, 0), []
        for span in spans[spans["unit"] == unit]:
            begin, end, cause = int(span["begin"]), int(span["end"]), list(CAUSES)[span["cause"]]
            cycles[cause] += end - begin
            joins = parts and parts[-1][::2] == (cause, begin)
            parts.append((cause, parts.pop()[1] if joins else begin, end))
        cycles[IDLE] = record["cycles"] - sum(cycles.values())
        assert record["units"][unit.name.lower()] == cycles
        if parts:
            found[unit.name.lower()] = ", ".join(
                f"{c} {b - start}-{e - start}" for c, b, e in parts
            )
    return found
