"""runtime/src/memory/hazard.cc, shadow.cc: debug mode, one test per fault.

Every message names function, pc, cycle, loop counters, instruction, memory, address and what is
allowed; of two units that meet, both instructions.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tvm_ffi

from microscopiq import Session, runtime
from microscopiq.target.errors import ConfigError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem, Unit
from tests.compiler import relax_modules as make
from tests.runtime.gemm_program import at
from tests.runtime.test_mutations import TINY, emitted, with_code

create = runtime.load() and tvm_ffi.get_global_func("microscopiq.runtime.create")
TOKENS = (isa.Sem, isa.Wait, isa.Post)
PLACE = r"function 'f', pc 0x[0-9a-f]+, cycle \d+, (loops i0=\d+(, i\d=\d+)*, )?"


def run(function, inputs, debug=True, arch=TINY):
    """Return the outputs' bytes and the record of a call."""
    outputs = [np.zeros(a.shape, a.dtype) for a in function.arguments if a.is_output]
    module = create(Program.for_arch(arch, {"f": function}).to_bytes())
    module["microscopiq.set_debug"](debug)
    module["f"](*map(tvm_ffi.from_dlpack, [*inputs, *outputs]))
    (record,) = json.loads(module["microscopiq.stats"]())
    return b"".join(output.tobytes() for output in outputs), record


def refused(function, inputs, arch=TINY):
    """Return the message of the error; its place is checked here."""
    with pytest.raises(SimError) as caught:
        run(function, inputs, arch=arch)
    assert re.match(PLACE, str(caught.value)), caught.value
    return str(caught.value)


def index_of(function, kind, note):
    """Return where the only instruction of a kind with that note stands."""
    (index,) = (
        i
        for i, code in enumerate(function.code)
        if isinstance(code, kind) and function.notes.get(i) == note
    )
    return index


# Faults in compiled programs.


MISSING_ORDER = {
    # Operator, buffer and side of its tokens: poster and waiter, the memory where they meet.
    ("linear", "y full"): ("vector", "dma_out", "obuf"),
    ("linear", "acc full"): ("array", "vector", "acc"),
    ("linear two groups", "residual full"): ("dma_in", "vector", "obuf"),
    ("attention two groups", "x free"): ("array", "dma_in", "spad"),
    ("attention", "w_exponent free"): ("vector", "dma_in", "wbuf"),
    ("conv", "bias free"): ("vector", "dma_in", "obuf"),
    ("requantized", "q full"): ("vector", "dma_out", "spad"),
    ("quantize", "x full"): ("dma_in", "vector", "obuf"),
}


@pytest.mark.parametrize(("name", "note"), MISSING_ORDER)
def test_a_missing_dependency(name, note):
    """In program order the values are right all the same; the machine's own order may differ."""
    function, inputs, expected = emitted(name)
    poster, waiter, memory = MISSING_ORDER[name, note]
    sem = function.code[index_of(function, isa.Post, note)].sem
    code = [i for i in function.code if not (isinstance(i, TOKENS) and i.sem == sem)]
    broken = with_code(function, code)
    assert run(broken, inputs, debug=False)[0] == expected
    message = refused(broken, inputs)
    assert re.search(rf": {memory} address 0x[0-9a-f]+: {waiter} (reads|writes) what ", message)
    assert re.search(
        rf" what {poster} (reads|writes) at pc 0x[0-9a-f]+, (loops i0=.*, )?[a-z0-9.]+ \w+=.*, "
        rf"in no defined order; allowed: after {waiter} waits for a token that {poster} posts",
        message,
    )


PLANES = {
    ("plane full", Unit.WLOAD): "weight plane address 0x0: array reads what wload writes at pc 0x",
    ("plane full", Unit.RECON): "ReCoN merges address 0x0: array reads what recon writes at pc 0x",
}


@pytest.mark.parametrize(("note", "poster"), PLANES)
def test_a_plane_that_is_used_too_early(note, poster):
    function, inputs, _ = emitted("linear")
    (sem,) = (
        i.sem
        for index, i in enumerate(function.code)
        if isinstance(i, isa.Post) and i.queue == poster and function.notes.get(index) == note
    )
    code = [i for i in function.code if not (isinstance(i, TOKENS) and i.sem == sem)]
    assert PLANES[note, poster] in refused(with_code(function, code), inputs)


def test_a_slot_too_many():
    """Three tokens for a ring of two: the third panel lands on the first while it is in use."""
    function, inputs, _ = emitted("attention two groups")
    sem = function.code[index_of(function, isa.Post, "x free")].sem
    code = [
        dataclasses.replace(i, value=3) if isinstance(i, isa.Sem) and i.sem == sem else i
        for i in function.code
    ]
    message = refused(with_code(function, code), inputs)
    assert ": spad address 0x" in message and "dma_in writes what array reads at pc 0x" in message


def test_a_token_that_comes_before_the_results():
    """`after=1` says that operands were read, which is too early for who needs the results."""
    function, inputs, _ = emitted("linear")
    index = index_of(function, isa.Post, "acc full")
    code = list(function.code)
    code[index] = dataclasses.replace(code[index], after=1)
    assert "acc address 0x0: vector reads what array writes" in refused(
        with_code(function, code), inputs
    )


@pytest.mark.parametrize("name", ["linear", "attention", "conv", "quantize", "requantized"])
def test_a_missing_transfer(name):
    function, inputs, _ = emitted(name)
    loads = (isa.DmaLoad, isa.DmaWeight, isa.DmaIm2col)
    tried = 0
    for index, instruction in enumerate(function.code):
        if not isinstance(instruction, loads):
            continue
        tried += 1
        memory = Mem(getattr(instruction, "mem", Mem.WBUF)).name.lower()
        code = function.code[:index] + function.code[index + 1 :]
        message = refused(with_code(function, code), inputs)
        assert re.search(
            rf": {memory} address 0x[0-9a-f]+ is read before anything wrote it in this call; "
            "allowed: after a write$",
            message,
        ), message
    assert tried


def test_a_shifted_address():
    """One row further on: the last row was never written, and far out there is no memory."""
    function, inputs, _ = emitted("linear")
    (index,) = (i for i, code in enumerate(function.code) if isinstance(code, isa.Matmul))
    matmul = function.code[index]
    for shift, end in (
        (128, " is read before anything wrote it in this call; allowed: after a write"),
        (TINY.spad_bytes, f", leave the memory; allowed: 0x0 to {TINY.spad_bytes:#x}"),
        (-1, f", leave the memory; allowed: 0x0 to {TINY.spad_bytes:#x}"),
    ):
        code = list(function.code)
        code[index] = dataclasses.replace(matmul, src=matmul.src + shift)
        message = refused(with_code(function, code), inputs)
        assert f", {code[index]}: spad address " in message and message.endswith(end), message


def test_a_program_for_another_machine():
    """The emitter's tile is too large for an array half the size, or for less memory."""
    function, inputs, _ = emitted("linear")
    narrow = dataclasses.replace(TINY, array_rows=2)
    message = refused(function, inputs, narrow)
    assert message.endswith("a tile of 4 rows x 8 columns of 4 bits; allowed: 2 x 8")
    assert ", preload plane=[" in message
    small = dataclasses.replace(TINY, acc_bytes=64)
    assert re.search(r": acc address 0x.*, leave the memory; allowed: 0x0 to 0x40$",
                     refused(function, inputs, small))  # fmt: skip


# Faults by hand.


def small(code, x=16, y=16, arch=TINY, names=("x", "y")):
    """Return a function of int8 x and y; e0..e3 are 1, 4, 8, 16."""
    clips = [isa.Clip(reg, size, size, at()) for reg, size in enumerate((1, 4, 8, 16))]
    arguments = (Argument(names[0], "int8", (x,)), Argument(names[1], "int8", (y,), True))
    return Function("f", "test", arguments, (*clips, *code, isa.End()))


X = [np.arange(16, dtype=np.int8)]


def load(address=0, extent=3, mem=Mem.SPAD):
    return isa.DmaLoad(mem, at(address), 0, 0, at(), 0, 1, 1, 0, extent)


def store(address=0, extent=3, mem=Mem.SPAD, dst=0):
    return isa.DmaStore(1, at(dst), 0, 1, mem, at(address), 0, 1, 0, extent)


def token(before, after, sem, kind=0):
    return [isa.Post(before, sem, kind), isa.Wait(after, sem)]


IN, OUT, VECTOR, ARRAY = Unit.DMA_IN, Unit.DMA_OUT, Unit.VECTOR, Unit.ARRAY


def test_messages(golden):
    """The whole text of each kind of error."""
    faults = [
        [store()],
        [load(extent=2), *token(IN, OUT, 0), store()],
        [load(), store()],
        [isa.Loop(3), load(), *token(IN, OUT, 0), store(), isa.EndLoop()],
        [load(), *token(IN, OUT, 0, 1), store()],
        [isa.Post(IN, 0), isa.Wait(OUT, 0), isa.Post(VECTOR, 0)],
        [isa.Post(IN, 0), isa.Wait(OUT, 0), isa.Post(IN, 0, 1)],
        [isa.Sem(0, 2), isa.Wait(OUT, 0), isa.Wait(VECTOR, 0)],
        [load(16384 - 15), *token(IN, OUT, 0), store()],
    ]
    golden("hazards.txt", "\n".join(refused(small(code), X) for code in faults) + "\n")


def test_the_place_behind_a_loop_that_was_left():
    """What an error says of an earlier instruction counts the passes that a `break` left out."""
    # One pass of three, in the second one the break.
    clip = isa.Clip(5, 1, 1, at(0, 1))
    code = [isa.Loop(3), clip, isa.Break(5), load(), isa.EndLoop(), load(4), load(8), store(4)]
    function = small(code)
    offsets = np.cumsum([0, *(len(i.encode()) for i in function.code)])
    _, writer, _ = (n for n, i in enumerate(function.code) if isinstance(i, isa.DmaLoad))
    assert f"dma_in writes at pc {offsets[writer]:#x}, dma.load" in refused(function, X)


def test_poison():
    """Outside of debug mode what nothing wrote is poison, in every call anew."""
    function = small([load(extent=1), *token(IN, OUT, 0), store()])
    output, _ = run(function, X, debug=False)
    assert output[:4] == bytes(range(4)) and output[4:] == b"\xa5" * 12
    refused(function, X)


def test_words_of_sums_and_floats_are_one_piece():
    """Two units may share a word of spad byte by byte, not one of obuf."""
    for mem, ok in ((Mem.SPAD, True), (Mem.OBUF, False)):
        code = [load(0, 0, mem), *token(IN, OUT, 0), store(0, 0, mem), load(1, 0, mem)]
        if ok:
            assert run(small(code), X)[0] == bytes(16)
        else:
            assert "dma_in writes what dma_out reads" in refused(small(code), X)


def test_order_passes_through_other_units():
    """dma_in to vector to dma_out orders the first and the last; so does a later token."""
    through = [load(), *token(IN, VECTOR, 0), *token(VECTOR, OUT, 1), store()]
    later = [load(), load(32), *token(IN, OUT, 0), store()]
    for code in (through, later):
        assert run(small(code), X)[0] == X[0].tobytes()
    early = [*token(IN, VECTOR, 0), load(), *token(VECTOR, OUT, 1), store()]
    assert "dma_out reads what dma_in writes" in refused(small(early), X)


def test_tokens_that_were_there_order_nothing():
    code = [isa.Sem(0, 1), load(), isa.Post(IN, 0), isa.Wait(OUT, 0), store()]
    assert "dma_out reads what dma_in writes" in refused(small(code), X)
    twice = [isa.Sem(0, 1), load(), isa.Post(IN, 0), *[isa.Wait(OUT, 0)] * 2, store()]
    assert "semaphore 0 ends at 0" in refused(small(twice), X)
    # `sem` with a lower count takes tokens away, first those that were posted first.
    lowered = [isa.Sem(0, 1), isa.Wait(OUT, 0), load(), isa.Post(IN, 0), isa.Sem(0, 0)]
    assert "dma_out reads what dma_in writes" in refused(small([*lowered, store()]), X)


def test_a_read_token_orders_writes_behind_reads():
    """`after=1` is enough to reuse a buffer, and carries what its poster had waited for."""
    first = [load(), *token(IN, OUT, 0), store()]
    assert run(small([*first, *token(OUT, IN, 1, 1), load()]), X)[0] == X[0].tobytes()
    assert "dma_in writes what dma_out reads" in refused(small([*first, load()]), X)
    # vector learns from dma_out that dma_in has finished.
    code = [
        load(0, 3, Mem.OBUF),
        *token(IN, OUT, 0),
        store(0, 3, Mem.OBUF),
        *token(OUT, VECTOR, 1, 1),
    ]
    clamp = isa.Clamp(at(), 0, 0.0, 1.0, 0, 1)
    assert run(small([*code, clamp]), X)


def test_an_output_that_is_read_back():
    back = isa.DmaLoad(Mem.SPAD, at(64), 0, 1, at(4), 0, 1, 1, 0, 1)
    first = [load(), *token(IN, OUT, 0), store()]
    assert "argument 1 address 0x4: dma_in reads what dma_out writes at pc 0x" in refused(
        small([*first, back]), X
    )
    assert run(small([*first, *token(OUT, IN, 1), back]), X)[0] == X[0].tobytes()
    early = [back, *token(IN, OUT, 0), store(64, 1)]
    assert "argument 1 address 0x4 is read before anything wrote it" in refused(small(early), X)
    strided = dataclasses.replace(back, src=at(15), src_step=-5)
    some = [load(), *token(IN, OUT, 0), store(0, 1, dst=12), *token(OUT, IN, 1), strided]
    assert "argument 1 address 0xa is read before anything" in refused(small(some), X)


def test_indices_are_read_by_the_transfer():
    index = isa.FillInt(at(8), 4, 1, 0, 0)
    gather = isa.DmaGather(Mem.SPAD, at(64), 1, 0, at(), 1, 1, 1, at(8), 4, 2, 0, 0)
    assert "obuf address 0x8 is read before anything wrote it" in refused(small([gather]), X)
    assert "dma_in reads what vector writes at pc 0x" in refused(small([index, gather]), X)
    found = run(small([index, *token(VECTOR, IN, 0), gather, *token(IN, OUT, 1), store(64, 0)]), X)
    assert found[0][:1] == X[0].tobytes()[1:2]


def test_a_gather_reads_the_rows_it_takes():
    """Of an output that was written in part, only they must be there."""
    gather = isa.DmaGather(Mem.SPAD, at(64), 1, 1, at(), 1, 1, 1, at(8), 4, 8, 0, 0)
    for index, missing in ((3, False), (4, True)):
        code = [
            *(load(0, 3), *token(IN, OUT, 0), store(0, 1), *token(OUT, IN, 1)),
            *(isa.FillInt(at(8), 4, index, 0, 0), *token(VECTOR, IN, 2), gather),
        ]
        if missing:
            assert "argument 1 address 0x4 is read before anything" in refused(small(code), X)
        else:
            run(small(code), X)


# What debug mode leaves alone.


@pytest.mark.parametrize("name", ["linear two blocks", "attention two groups", "conv"])
def test_values_and_records_are_those_of_production(name):
    function, inputs, expected = emitted(name)
    found = [run(function, inputs, debug) for debug in (True, False)]
    assert found[0] == found[1] and found[0][0] == expected


def test_a_module_runs_on_after_a_refusal():
    function = small([load(extent=1), *token(IN, OUT, 0), store()])
    module = create(Program.for_arch(TINY, {"f": function}).to_bytes())
    y = np.zeros(16, np.int8)
    for debug in (True, False, True):
        module["microscopiq.set_debug"](debug)
        if debug:
            with pytest.raises(SimError, match="spad address 0x4 is read before"):
                module["f"](*map(tvm_ffi.from_dlpack, [*X, y]))
        else:
            module["f"](*map(tvm_ffi.from_dlpack, [*X, y]))


# How it is turned on.


def test_sessions_choose_for_themselves(production_mode, monkeypatch):
    """A compiler that forgets every token: right values, until somebody looks."""
    mod = make.module(make.mlp, (2, 3, 10))
    right, inputs = make.compiled(mod), make.inputs_of(mod)
    monkeypatch.setattr("microscopiq.compiler.emit.emit._add_tokens", lambda *_: None)
    wrong = make.compiled(mod)
    expected = Session(right.executable, debug=True).run(*inputs)
    for debug in (None, False):
        found = Session(wrong.executable, debug=debug).run(*inputs)
        make.assert_equal_bits(expected.outputs, found.outputs)
    with pytest.raises(SimError, match="in no defined order"):
        Session(wrong.executable, debug=True).run(*inputs)
    with pytest.raises(ConfigError, match="was built for"):
        Session(right.executable, "microscopiq-64x64", debug=True)


def test_process_wide_default(production_mode):
    function = small([store()])
    module = create(Program.for_arch(TINY, {"f": function}).to_bytes())
    tensors = [*map(tvm_ffi.from_dlpack, [*X, np.zeros(16, np.int8)])]
    module["f"](*tensors)
    assert runtime.set_debug(True) is False
    with pytest.raises(SimError, match="is read before anything wrote it"):
        module["f"](*tensors)
    assert runtime.set_debug(False) is True
    module["f"](*tensors)


@pytest.mark.parametrize("value", ["1", "0", None])
def test_environment(value):
    environment = {k: v for k, v in os.environ.items() if k != runtime.DEBUG_VARIABLE}
    if value is not None:
        environment[runtime.DEBUG_VARIABLE] = value
    script = "from microscopiq.runtime import set_debug; print(set_debug(False))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(value == "1"), done.stderr
