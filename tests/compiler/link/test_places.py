"""compiler/link/places.py: nothing that lives together overlaps, and all fits the memories."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq.compiler.link.places import keep, rooms
from microscopiq.target.arch import load_arch
from microscopiq.target.isa.program import Argument, Buffer, Function
from microscopiq.target.isa.spec import Mem, Unit

ARCH = dataclasses.replace(load_arch("tiny-4x4"), spad_bytes=1024, obuf_bytes=2048)
NOBODY: frozenset[Unit] = frozenset()


def function(inputs: list[tuple[int, Mem]], outputs: list[tuple[int, Mem]], own: int) -> Function:
    """Return a function whose buffers are its arguments' tiles, and some of its own."""
    arguments, buffers = [], [Buffer("own", Mem.OBUF, 0, own, NOBODY, NOBODY)]
    for number, (size, mem) in enumerate([*inputs, *outputs]):
        arguments.append(Argument(f"a{number}", "int8", (size,), number >= len(inputs)))
        buffers.append(Buffer(f"b{number}", mem, 0, (size + 1) // 2, NOBODY, NOBODY, number))
    return Function("f", "", tuple(arguments), (), buffers=tuple(buffers))


@st.composite
def graphs(draw):
    """Draw calls, each with one result and inputs that are earlier ones' results."""
    functions, readers, results = [], {}, []
    for number in range(draw(st.integers(1, 8))):
        taken = draw(st.lists(st.sampled_from(results), max_size=2)) if results else []
        for argument, (call, _, _) in enumerate(taken):
            readers.setdefault((call, 0), []).append((number, argument))
        size, mem = draw(st.integers(1, 700)), draw(st.sampled_from([Mem.SPAD, Mem.OBUF]))
        # Some readers have the tiles in another memory than who made them.
        inputs = [(s, draw(st.sampled_from([m, m, Mem.OBUF]))) for _, s, m in taken]
        functions.append(function(inputs, [(size, mem)], draw(st.integers(0, 300))))
        results.append((number, size, mem))
    return functions, readers


@settings(max_examples=200)
@given(graphs())
def test_places_of_what_lives_together(drawn):
    functions, readers = drawn
    plan = keep(functions, readers, ARCH)
    found = rooms(plan, readers, set())
    capacity = {Mem.SPAD: ARCH.spad_bytes, Mem.OBUF: ARCH.obuf_bytes}
    for call, (made, room) in enumerate(zip(functions, found, strict=True)):
        for mem, limit in capacity.items():
            own = sum(
                (b.size + 3) // 4 * 4
                for b in made.buffers
                if b.mem is mem and b.argument not in room.kept
            )
            spans = [(room.origin[mem], room.origin[mem] + own)]
            for kept in plan.kept.values():
                if kept.mem is mem and kept.first <= call <= kept.last:
                    start = limit - kept.offset - kept.size
                    spans.append((start, start + kept.size))
            spans.sort()
            assert spans[0][0] >= 0 and spans[-1][1] <= limit
            for (_, end), (start, _) in itertools.pairwise(spans):
                assert end <= start, (call, mem, spans)
    for (call, _), kept in plan.kept.items():
        argument = len(functions[call].arguments) - 1
        assert set(kept.readers) <= set(readers[call, 0])
        stored = argument in found[call].stored
        assert stored == (len(kept.readers) < len(readers[call, 0]))
        for number, each in kept.readers:
            assert found[number].kept[each] == found[call].kept[argument]


def test_results_stay_for_as_many_readers_as_have_room():
    """600 bytes of 1024 leave none for a call that needs 500 for itself."""
    chain = [
        function([], [(600, Mem.SPAD)], 0),
        function([(600, Mem.SPAD)], [(8, Mem.OBUF)], 0),
        function([], [(500, Mem.SPAD)], 0),
        function([(600, Mem.SPAD)], [(8, Mem.OBUF)], 0),
    ]
    chain[2] = dataclasses.replace(
        chain[2], buffers=(Buffer("x", Mem.SPAD, 0, 500, NOBODY, NOBODY),)
    )
    readers = {(0, 0): [(1, 0), (3, 0)]}
    plan = keep(chain, readers, ARCH)
    assert plan.kept[0, 0].readers == ((1, 0),)
    first, second, _, last = rooms(plan, readers, set())
    assert first.stored == {0} and first.kept == second.kept == {0: 1024 - 640}
    assert last.kept == {}


@pytest.mark.parametrize("outside", [True, False])
def test_what_is_read_outside_is_stored_too(outside):
    chain = [function([], [(64, Mem.OBUF)], 0), function([(64, Mem.OBUF)], [(8, Mem.OBUF)], 0)]
    readers = {(0, 0): [(1, 0)]}
    found = rooms(keep(chain, readers, ARCH), readers, {(0, 0)} if outside else set())
    assert found[0].stored == ({0} if outside else set())
