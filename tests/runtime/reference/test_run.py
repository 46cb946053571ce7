"""runtime/reference/run.py: numbers of the paper, rounding at the edges, and what it refuses.

The C++ core runs the same programs: `core` compares the two.
"""

import numpy as np
import pytest
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import InputError, IsaError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import LOOP_DEPTH, Affine, Instruction, Mem, Unit
from microscopiq.target.packing import pack
from microscopiq.target.weight import empty
from tests.runtime.ordered import ordered

TINY = load_arch("tiny-4x4")
ZERO = Affine()
MS2 = 3


def by_loop(level: int, stride: int) -> Affine:
    return Affine(0, tuple(stride * (level == other) for other in range(LOOP_DEPTH)))


def function(code: list[Instruction], *arguments: Argument, weights: bytes = b"") -> Function:
    return Function("f", "test", arguments, (*ordered(code), isa.End()), weights)


def extents(*values: int) -> list[Instruction]:
    return [isa.Clip(number, value, value, ZERO) for number, value in enumerate(values)]


def figure_8_weights() -> bytes:
    """Input 0: 1 in columns 0 and 5. Input 1: outlier 1.5, Upper 01 in column 0, Lower 00 in 5."""
    weight = empty("ms2", 8, 2)
    weight.slots[[0, 5], 0] = 1
    weight.slots[[0, 5], 1] = 0b01, 0b00
    weight.relative_exponent[0, 1] = 0
    weight.pairs[0, 1, 0] = 0, 5
    return pack([weight])


def figure_8_code() -> list[Instruction]:
    part = (ZERO, ZERO, MS2, ZERO, ZERO, 1, 2)
    return [
        *extents(1, 2, 8),
        isa.DmaWeight(ZERO, ZERO, 100),
        isa.DmaLoad(Mem.SPAD, ZERO, 0, 0, ZERO, 0, 1, 1, 0, 1),
        isa.DmaLoad(Mem.SPAD, Affine(8), 0, 1, ZERO, 0, 1, 1, 0, 0),
        isa.Preload(*part),
        isa.ReconConfig(*part),
        isa.Matmul(ZERO, ZERO, 0, ZERO, 0, 0, ZERO),
        isa.DmaStore(2, ZERO, 0, 4, Mem.ACC, ZERO, 0, 4, 0, 2),
        isa.Drain(ZERO, 0, ZERO, 0, MS2, ZERO, 0, Affine(8), 0, 0, 2, ZERO),
        isa.DmaStore(3, ZERO, 0, 4, Mem.OBUF, ZERO, 0, 4, 0, 2),
    ]


FIGURE_8_ARGUMENTS = (
    Argument("x", "int8", (2,)),
    Argument("exponent", "int8", (1,)),
    Argument("psum", "int8", (32,), is_output=True),
    Argument("y", "float32", (8,), is_output=True),
)


def test_figure_8_of_the_paper(core):
    """iAcc 8, iAct 32, outlier 1.5: 8 + (32 >> 1) + (0 >> 2) + 32 = 56, here with 2 guard bits."""
    golden = function(figure_8_code(), *FIGURE_8_ARGUMENTS, weights=figure_8_weights())
    psum, y = core(golden, TINY, [np.int8([8, 32]), np.int8([0])])
    iacc = 8 << 2
    assert psum.view("<i4").tolist() == [56 << 2, 0, 0, 0, 0, iacc, 0, 0]
    assert y.tolist() == [56, 0, 0, 0, 0, 8, 0, 0]
    psum, y = core(golden, TINY, [np.int8([8, -32]), np.int8([-3])])
    assert y.tolist() == [(8 - 48) / 8, 0, 0, 0, 0, 1, 0, 0]


def test_negative_outlier_keeps_its_hidden_bit():
    """-1.0 has Upper 10 and Lower 10: both multiply to 0, the sign is left for the hidden bit."""
    weights = bytearray(figure_8_weights())
    slots = 12 + 4 + 2  # directory, header, first row
    weights[slots : slots + 2] = 0b10, 0b10 << 2
    golden = function(figure_8_code(), *FIGURE_8_ARGUMENTS, weights=bytes(weights))
    outputs = [np.zeros(32, np.int8), np.zeros(8, np.float32)]
    run(golden, TINY, [np.int8([8, 32]), np.int8([0]), *outputs])
    assert outputs[1].tolist() == [8 - 32, 0, 0, 0, 0, 8, 0, 0]


def vector_function(count: int, bits: int = 8) -> Function:
    """Return exponent and codes of one row of floats."""
    code = [
        *extents(1, count),
        isa.DmaLoad(Mem.OBUF, ZERO, 0, 0, ZERO, 0, 4, 4, 0, 1),
        isa.Absmax(ZERO, 0, ZERO, 0, 0, 1, ZERO, bits),
        isa.Quant(Affine(16), 0, ZERO, 0, ZERO, 0, 0, 1, bits),
        isa.DmaStore(1, ZERO, 0, 1, Mem.SPAD, ZERO, 0, 1, 0, 0),
        isa.DmaStore(2, ZERO, 0, 1, Mem.SPAD, Affine(16), 0, 1, 0, 1),
    ]
    outputs = (
        Argument("exponent", "int8", (1,), is_output=True),
        Argument("codes", "int8", (count,), is_output=True),
    )
    return function(code, Argument("x", "float32", (count,)), *outputs)


@pytest.mark.parametrize(
    ("bits", "values", "exponent", "codes"),
    [
        (8, [1.0, -0.5, 0.0], -6, [64, -32, 0]),
        (8, [127.0, 0.5, 1.5, 2.5, -0.5, -1.5], 0, [127, 0, 2, 2, 0, -2]),  # ties to even
        (8, [127.5, -127.75], 0, [127, -127]),  # the code 128 doesn't exist
        (8, [0.0, -0.0], -126, [0, 0]),
        (8, [1e-42], -126, [0]),  # denormal
        (8, [2.0**-120], -126, [64]),
        (8, [2.0**-121, -(2.0**-126)], -126, [32, -1]),
        (8, [3.4028235e38, 2.0**121], 121, [127, 1]),
        (4, [1.0, -0.5, 0.0], -2, [4, -2, 0]),
        (4, [7.0, 0.5, 1.5, 2.5, -0.5, -1.5], 0, [7, 0, 2, 2, 0, -2]),  # ties to even
        (4, [7.5, -7.75], 0, [7, -7]),  # the code 8 doesn't exist
        (4, [7.5, 8.0], 1, [4, 4]),
        (4, [0.0, -0.0], -126, [0, 0]),
        (4, [1e-42], -126, [0]),  # denormal
        (4, [2.0**-124], -126, [4]),
        (4, [2.0**-125, -(2.0**-126)], -126, [2, -1]),
        (4, [3.4028235e38, 2.0**125], 125, [7, 1]),
    ],
)
def test_exponent_and_codes(core, bits, values, exponent, codes):
    found = core(vector_function(len(values), bits), TINY, [np.float32(values)])
    assert [array.tolist() for array in found] == [[exponent], codes]


def copy_function(tiles: int = 4, leaves: bool = False) -> Function:
    """Copy 10 bytes in tiles of 4 through two slots of spad, with tokens as a compiler does."""
    ring = Affine(0, turns=(1, *[0] * (LOOP_DEPTH - 1)), slots=2, slot_step=64)
    code = [
        isa.Clip(0, 1, 1, ZERO),
        isa.Sem(0, 2),
        isa.Loop(tiles),  # those past the third are empty: their transfers do nothing
        isa.Clip(1, 4, 10, by_loop(0, 4)),
        *([isa.Break(1)] if leaves else []),
        isa.Wait(Unit.DMA_IN, 0),
        isa.DmaLoad(Mem.SPAD, ring, 0, 0, by_loop(0, 4), 0, 1, 1, 0, 1),
        isa.Post(Unit.DMA_IN, 1),
        isa.Wait(Unit.DMA_OUT, 1),
        isa.DmaStore(1, by_loop(0, 4), 0, 1, Mem.SPAD, ring, 0, 1, 0, 1),
        isa.Post(Unit.DMA_OUT, 0),
        isa.EndLoop(),
    ]
    return function(code, *(Argument(name, "int8", (10,), name == "y") for name in "xy"))


def test_loops_tokens_and_empty_tiles(core):
    (y,) = core(copy_function(), TINY, [np.arange(10, dtype=np.int8)])
    assert y.tolist() == list(range(10))


def test_break_leaves_a_loop(core):
    (y,) = core(copy_function(1000, leaves=True), TINY, [np.arange(10, dtype=np.int8)])
    assert y.tolist() == list(range(10))


LEVEL = st.tuples(st.integers(1, 3), st.integers(0, 4), st.booleans())


@settings(max_examples=50)
@given(levels=st.lists(LEVEL, min_size=1, max_size=4))
def test_break_in_nested_loops(core, levels):
    """Each pass of a loop stores a byte at the sum of its counters, unless a break left it."""
    code = [*extents(1), isa.DmaLoad(Mem.SPAD, ZERO, 0, 0, ZERO, 0, 1, 1, 0, 0)]
    place = Affine(0, tuple(4**level for level in range(4)) + (0,) * (LOOP_DEPTH - 4))
    for depth, (count, limit, leaves) in enumerate(levels):
        start = Affine(0, tuple(int(level <= depth) for level in range(LOOP_DEPTH)))
        code += [isa.Loop(count), isa.Clip(4 + depth, 1, limit, start)]
        code += [isa.Break(4 + depth)] if leaves else []
        cut = Affine(0, tuple(place.strides[: depth + 1]) + (0,) * (LOOP_DEPTH - depth - 1))
        code += [isa.DmaStore(1, cut, 0, 1, Mem.SPAD, ZERO, 0, 1, 0, 0)]
    code += [isa.EndLoop() for _ in levels]
    x = np.ones(1, np.int8)
    arguments = (Argument("x", "int8", (1,)), Argument("y", "int8", (256,), True))
    (y,) = core(function(code, *arguments), TINY, [x])
    stored = set()

    def walk(depth, counters):
        if depth == len(levels):
            return
        count, limit, leaves = levels[depth]
        for counter in range(count):
            if leaves and sum(counters) + counter >= limit:
                break
            stored.add(sum(c * 4**level for level, c in enumerate((*counters, counter))))
            walk(depth + 1, (*counters, counter))

    walk(0, ())
    assert set(np.flatnonzero(y).tolist()) == stored


def test_memories_start_poisoned(core, production_mode):
    code = [*extents(1, 3), isa.DmaStore(0, ZERO, 0, 1, Mem.OBUF, ZERO, 0, 1, 0, 1)]
    (y,) = core(function(code, Argument("y", "int8", (3,), is_output=True)), TINY, [])
    assert y.view(np.uint8).tolist() == [0xA5] * 3


WITHOUT_RECON = [i for i in figure_8_code() if not isinstance(i, isa.ReconConfig)]
OTHER_PART = [
    isa.ReconConfig(ZERO, ZERO, MS2, Affine(1), ZERO, 0, 2) if isinstance(i, isa.ReconConfig) else i
    for i in figure_8_code()
]
INT4_HEADER = [
    isa.Preload(ZERO, ZERO, 1, ZERO, ZERO, 1, 2) if isinstance(i, isa.Preload) else i
    for i in figure_8_code()
]
ILLEGAL = {
    "extent register e1 is unset": [isa.Matmul(ZERO, ZERO, 0, ZERO, 0, 1, ZERO)],
    "weight plane 0 holds nothing": [*extents(1), isa.Matmul(ZERO, ZERO, 0, ZERO, 0, 0, ZERO)],
    "weight plane 2; the array has 2": [
        *extents(1),
        isa.Matmul(Affine(2), ZERO, 0, ZERO, 0, 0, ZERO),
    ],
    "recon.config must come before matmul": WITHOUT_RECON,
    "another panel part": OTHER_PART,
    "has format 3, the instruction 1": INT4_HEADER,
    "semaphore 3 is 0: nothing earlier in the program posts it": [isa.Wait(Unit.ARRAY, 3)],
    "semaphore 3 ends at 1, it started at 0": [isa.Post(Unit.ARRAY, 3)],
    "obuf bytes 0x4000 to 0x4003; it has 0x4000": [
        *extents(1),
        isa.Clamp(Affine(0x4000), 0, 0.0, 1.0, 0, 0),
    ],
    "argument 1 bytes -0x1 to -0x1": [
        *extents(1),
        isa.DmaLoad(Mem.SPAD, ZERO, 0, 1, Affine(-1), 0, 1, 1, 0, 0),
    ],
    "argument 0 isn't an output": [
        *extents(1),
        isa.DmaStore(0, ZERO, 0, 1, Mem.SPAD, ZERO, 0, 1, 0, 0),
    ],
    "panel 1 of 1": [isa.DmaWeight(ZERO, Affine(1), 100)],
    "panel 0 has 16 bytes; its slot has 15": [isa.DmaWeight(ZERO, ZERO, 15)],
    "rows of 4 bytes written 0 bytes apart overlap": [
        *extents(2, 1),
        isa.Clamp(ZERO, 0, 0.0, 1.0, 0, 1),
    ],
}


def native_error(illegal: Function) -> Exception:
    """Return what the C++ core raises."""
    module = tvm_ffi.get_global_func("microscopiq.runtime.create")(
        Program.for_arch(TINY, {"f": illegal}).to_bytes()
    )
    inputs = [np.zeros(a.shape, a.dtype) for a in illegal.arguments]
    with pytest.raises(SimError) as caught:
        module["f"](*map(tvm_ffi.from_dlpack, inputs))
    return caught.value


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal_actions_name_the_instruction(core, message):
    illegal = function(ILLEGAL[message], *FIGURE_8_ARGUMENTS, weights=figure_8_weights())
    with pytest.raises(SimError) as caught:
        run(illegal, TINY, [np.zeros(a.shape, a.dtype) for a in illegal.arguments])
    assert message in str(caught.value) and str(caught.value).startswith("f pc ")
    assert native_error(illegal)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_quantizing_a_value_that_is_not_finite(core, value):
    x = np.float32([1, value, 2])
    with pytest.raises(SimError, match=rf"absmax .*row 0, column 1 is {value}; it must be finite"):
        run(vector_function(3), TINY, [x, np.zeros(1, np.int8), np.zeros(3, np.int8)])


def test_broken_structure_and_arguments():
    broken = {
        "loop without an endloop": [isa.Loop(2)],
        "endloop without a loop": [isa.EndLoop()],
        "break without a loop": [isa.Loop(1), isa.EndLoop(), isa.Break(0)],
        "instructions after end": [isa.End(), isa.Sem(0, 1)],
        f"deeper than {LOOP_DEPTH}": [isa.Loop(1)] * (LOOP_DEPTH + 1),
    }
    for message, code in broken.items():
        with pytest.raises(IsaError, match=message):
            run(function(code), TINY, [])
    with pytest.raises(IsaError, match="doesn't finish with end"):
        run(Function("f", "", (), ()), TINY, [])
    x, y = np.zeros(10, np.int8), np.zeros(10, np.float32)
    with pytest.raises(InputError, match="1 arguments; f has 2"):
        run(copy_function(), TINY, [x])
    with pytest.raises(InputError, match=r"argument 'y': float32\(10,\); int8\(10,\) is declared"):
        run(copy_function(), TINY, [x, y])
    with pytest.raises(InputError, match="'x' isn't C-contiguous"):
        run(copy_function(), TINY, [np.zeros(20, np.int8)[::2], x])
