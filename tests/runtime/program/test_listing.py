"""runtime/src/program/listing.cc: the core prints an instruction as the listing in Python does."""

import math
import struct

import tvm_ffi
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program, function_listing
from microscopiq.target.isa.spec import LOOP_DEPTH, REGISTRY, Affine, Mem, Unit

create = runtime.load() and tvm_ffi.get_global_func("microscopiq.runtime.create")
TINY = load_arch("tiny-4x4")


def exact(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def integers(bits: int, signed: bool = False):
    low = -(1 << (bits - 1)) if signed else 0
    return st.one_of(st.integers(low, low + (1 << bits) - 1), st.integers(max(low, -12), 12))


AFFINES = st.builds(
    Affine,
    st.one_of(st.integers(-(1 << 60), 1 << 60), st.integers(-12, 12)),
    st.tuples(*[st.sampled_from([0, 0, 1, -1]) | integers(32, True)] * LOOP_DEPTH),
    st.tuples(*[st.sampled_from([0, 0, 1]) | integers(8)] * LOOP_DEPTH),
    integers(8),
    integers(32),
)
KINDS = {
    "u8": integers(8),
    "u16": integers(16),
    "u32": integers(32),
    "i32": integers(32, True),
    "i64": integers(64, True),
    "f32": st.floats(width=32, allow_nan=False),
    "affine": AFFINES,
    "extent": st.integers(0, 15),
    "mem": st.sampled_from(list(Mem)),
    "argument": st.just(0),
    "unit": st.sampled_from([unit for unit in Unit if unit]),
}
BODY = [cls for cls in REGISTRY.values() if cls not in (isa.Loop, isa.EndLoop)]


@st.composite
def any_instruction(draw):
    cls = draw(st.sampled_from(BODY))
    values = {}
    for name, kind, _ in cls.operands():
        allowed = cls.constraints().get(name)
        values[name] = draw(st.sampled_from(allowed) if allowed else KINDS[kind.name])
    return cls(**values)


def clamp(*values: float):
    return [isa.Clamp(Affine(), 0, exact(value), exact(-value), 0, 0) for value in values]


@settings(max_examples=200)
@given(st.lists(any_instruction(), max_size=20))
@example(clamp(0.0, 6.0, math.inf, 0.1, 1e-5, 1e16, 1e15, 123456.78, 1e-45, 3.4e38, 1e-4))
def test_both_print_the_same(body):
    code = [*[isa.Loop(1)] * LOOP_DEPTH, *body, *[isa.EndLoop()] * LOOP_DEPTH, isa.End()]
    function = Function("f", "test", (Argument("x", "int8", (1,), True),), tuple(code))
    module = create(Program.for_arch(TINY, {"f": function}).to_bytes())
    expected = [line for line in function_listing(function).splitlines() if line[2:3].isalnum()]
    assert module.inspect_source("asm").splitlines() == ["f:", *expected]


def test_floats_are_the_shortest_that_read_back():
    """As in Python: at powers of two the gap to the next float below is half that above."""
    values = [2.0**power for power in range(-149, 128)]
    values += [exact(value + side * 2.0**-24 * value) for value in values for side in (-1, 1, 2)]
    values += [exact(10.0**power) for power in range(-45, 39)]
    largest = (2 - 2.0**-23) * 2.0**127
    values += [largest, 2.0**-126 - 2.0**-149, *map(exact, (0.1, 1 / 3, 123456.78, 9999999.0))]
    values += [0.0, math.inf]
    code = (*clamp(*values), isa.End())
    function = Function("f", "test", (Argument("x", "int8", (1,), True),), code)
    module = create(Program.for_arch(TINY, {"f": function}).to_bytes())
    lines = module.inspect_source("asm").splitlines()[1:-1]
    assert len(lines) == len(values)
    for value, line in zip(values, lines, strict=True):
        assert f"low={value!r}, high={-value!r}," in line
