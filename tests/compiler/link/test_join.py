"""compiler/link: what orders neighbours is enough, and nothing of a function is left out."""

import dataclasses
import json

import numpy as np
import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.compiler.kinds.registry import emit_tile, kind_of
from microscopiq.compiler.link.calls import Call, Tensor, argument_of, executed
from microscopiq.compiler.link.join import join
from microscopiq.compiler.link.places import keep, rooms
from microscopiq.compiler.operators import Gemm, Quantize
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import IsaError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Program, size_of
from microscopiq.target.packing import pack
from microscopiq.target.segment import panel_bytes, shape_only
from tests.runtime.gemm_program import random_weight

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
TINY = load_arch("tiny-4x4")
M, N, K = 5, 12, 20
SEGMENTS = [pack([random_weight("int8", *shape)]) for shape in ((N, K), (K, N))]
ARGUMENTS = (
    Argument("x", "float32", (1, M, K)),
    Argument("bias", "float32", (N,)),
    Argument("out", "float32", (1, M, K), True),
    Argument("workspace", "int8", (1024,), True),
)


def operators():
    """Return the operators of two layers: each quantizes what it is given."""
    linear = [Gemm(1, 1, M, N, K, "int8", bias=True, low=0.0), Gemm(1, 1, M, K, N, "int8")]
    return [Quantize(M, K, 128), linear[0], Quantize(M, N, 128), linear[1]]


def functions(places=None):
    """Return them emitted, each in its own room."""
    weights = [b"", SEGMENTS[0], b"", SEGMENTS[1]]
    return [
        emit_tile(op, kind_of(op).default_tile(op, TINY), TINY, f"f{n}", f"layer {n}", w, room)
        for n, (op, w, room) in enumerate(
            zip(operators(), weights, places or [None] * 4, strict=True)
        )
    ]


READERS = {(0, 0): [(1, 0)], (0, 1): [(1, 1)], (1, 0): [(2, 0)], (2, 0): [(3, 0)], (2, 1): [(3, 1)]}
"""Which arguments of which calls read each result."""
MODES = ("in place", "moved", "kept", "kept and stored")
"""Where calls have their buffers: all from 0 on; behind one another; results on the chip, too."""


def calls(mode="moved"):
    """Return the calls of a chain; what one gives another lies in the workspace, places reused."""
    codes, exponents, values = Tensor(3, 0, M * K), Tensor(3, 128, M), Tensor(3, 192, 4 * M * N)
    again = Tensor(3, 0, M * N)
    given = [
        (Tensor(0, 0, 4 * M * K), codes, exponents),
        (codes, exponents, Tensor(1, 0, 4 * N), values),
        (values, again, exponents),
        (again, exponents, Tensor(2, 0, 4 * M * K)),
    ]
    if mode == "in place":
        made = functions()
    else:
        plan = keep(functions(), READERS if mode[:4] == "kept" else {}, TINY)
        places = rooms(plan, READERS, set(READERS) if mode == "kept and stored" else set())
        made = functions(places)
        given = [
            tuple(
                Tensor(None, room.kept[n], t.size) if n in room.kept.keys() - room.stored else t
                for n, t in enumerate(tensors)
            )
            for tensors, room in zip(given, places, strict=True)
        ]
    return [Call(function, tensors) for function, tensors in zip(made, given, strict=True)]


def arrays():
    rng = np.random.default_rng(0)
    x, bias = (rng.standard_normal(a.shape).astype(np.float32) for a in ARGUMENTS[:2])
    return x, bias, np.zeros((1, M, K), np.float32), np.zeros(1024, np.int8)


def simulated(function, *mode):
    given = arrays()
    module = create(Program.for_arch(TINY, {"all": function}).to_bytes())
    for each in mode:
        module["microscopiq.set_mode"](each)
    module["all"](*[tvm_ffi.from_dlpack(array) for array in given])
    return given[2]


def one_by_one():
    """Return what the functions give when each is called for itself, in NumPy."""
    x, bias, out, _ = arrays()
    codes, exponents = np.zeros((1, M, K), np.int8), np.zeros((1, M, 1), np.int8)
    y, again = np.zeros((1, M, N), np.float32), np.zeros((1, M, N), np.int8)
    first, second, third, fourth = functions()
    run(first, TINY, [x, codes, exponents])
    run(second, TINY, [codes, exponents, bias, y])
    run(third, TINY, [y, again, exponents])
    run(fourth, TINY, [again, exponents, out])
    return out


@pytest.mark.parametrize("mode", MODES)
def test_bits_of_single_calls_in_every_mode(mode):
    """Tests run in debug mode, which refuses what nothing orders."""
    function = join("all", ARGUMENTS, calls(mode))
    wanted = one_by_one()
    given = arrays()
    run(function, TINY, list(given))
    for found in (simulated(function), simulated(function, "structural"), given[2]):
        np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))
    assert [(p.name, p.layer, p.macs) for p in function.parts] == [
        (f.name, f.layer, f.macs) for f in functions()
    ]
    assert function.macs == 2 * M * N * K


def seam_tokens(function):
    """Return the semaphores that order calls: those whose wait says for which layer."""
    return {
        function.code[at].sem: note for at, note in function.notes.items() if note[:4] == "for "
    }


@pytest.mark.parametrize("mode", MODES)
def test_debug_mode_refuses_it_without_them(mode):
    function = join("all", ARGUMENTS, calls(mode))
    between = seam_tokens(function)
    assert between
    keep = [
        i for i in function.code if not (isinstance(i, isa.Wait | isa.Post) and i.sem in between)
    ]
    with pytest.raises(SimError, match="in no defined order"):
        simulated(dataclasses.replace(function, code=tuple(keep), notes={}, parts=()))


def test_what_is_kept_is_not_moved():
    """Loads of what the program gives and stores of what it returns are all that is left."""
    kinds = {mode: join("all", ARGUMENTS, calls(mode)).code for mode in MODES}
    moves = {mode: [argument_of(i) for i in code] for mode, code in kinds.items()}
    found = {mode: sorted(n for n in numbers if n is not None) for mode, numbers in moves.items()}
    assert found["kept"] == [0, 1, 2]
    assert found["kept and stored"] == [0, 1, 2, 3, 3, 3, 3, 3]
    assert found["moved"] == found["in place"] == sorted(found["kept and stored"] + [3] * 5)


def test_weights_wait_for_nothing_but_their_place():
    """The second product's panel is loaded before its activations are waited for."""
    function = join("all", ARGUMENTS, calls())
    code = function.code[function.parts[3].first :]
    kinds = [type(i) for i in code]
    waits = [
        at
        for at, i in enumerate(code)
        if isinstance(i, isa.Wait) and i.sem in seam_tokens(function)
    ]
    assert kinds.index(isa.DmaWeight) < waits[0] < kinds.index(isa.DmaLoad)


@pytest.mark.parametrize("limit", ["ARGUMENTS", "INSTRUCTIONS", "SEGMENT_BYTES"])
def test_what_is_too_much_for_one_function(limit, monkeypatch):
    monkeypatch.setattr(f"microscopiq.compiler.link.join.{limit}", 3)
    with pytest.raises(IsaError, match=r"all: [\d,]+ .*; allowed: (below )?3"):
        join("all", ARGUMENTS, calls())


def test_too_few_semaphores(monkeypatch):
    monkeypatch.setattr("microscopiq.compiler.link.semaphores.SEMAPHORES", 8)
    with pytest.raises(IsaError, match=r"4 functions need \d+ semaphores .*; the machine has 8"):
        join("all", ARGUMENTS, calls())


def test_weights_that_are_shapes_alone():
    first, *rest = calls()
    shapes = shape_only([b""], np.zeros(len(panel_bytes(SEGMENTS[0])), int))
    rest[0] = Call(dataclasses.replace(rest[0].function, weights=shapes), rest[0].tensors)
    with pytest.raises(IsaError, match="weights of 'f1' are shapes alone; allowed: weights"):
        join("all", ARGUMENTS, [first, *rest])


def test_instructions_are_counted_as_they_run():
    function = join("all", ARGUMENTS, calls())
    module = create(Program.for_arch(TINY, {"all": function}).to_bytes())
    module["microscopiq.time"]("all")
    records = json.loads(module["microscopiq.stats"]())
    assert executed(function.code) == sum(record["instructions"] for record in records)


def test_arguments_are_as_large_as_they_are():
    for call in calls():
        for argument, tensor in zip(call.function.arguments, call.tensors, strict=True):
            assert size_of(argument) == tensor.size
