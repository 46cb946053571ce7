"""runtime/reference/vector.py against the C++ core, and both against what is written by hand."""

import numpy as np
import pytest
import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target.errors import InputError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Program
from microscopiq.target.isa.spec import Affine, Mem
from microscopiq.target.vector_operations import INT, OPERATIONS, REDUCTIONS, Operation
from tests.runtime.reference.test_units import (
    TINY,
    around,
    bits,
    boxes,
    clips,
    contents,
    quick,
    seeds,
)

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
LARGEST = np.finfo(np.float32).max
ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, 2.5, -0.5, -1.5, 2.0**23, 2.0**23 - 0.5, 1e-45]
ODD += [2.0**31, -(2.0**31), 2.0**31 - 128, 3e9, -3e9]
NO_OPERAND = (Affine(), 0, 0)


def with_odd(seed: int) -> list[np.ndarray]:
    """Return contents with every kind of number in obuf."""
    filled = contents(seed)
    words = filled[Mem.OBUF].view(np.float32)
    odd = np.random.default_rng(seed).random(len(words)) < 0.4
    words[odd] = np.random.default_rng(seed + 1).choice(np.float32(ODD), odd.sum())
    return filled


@st.composite
def operands(draw, low: int, rows: int, cols: int):
    """Return (first byte, pitch, step) of a tile, a row, a column or a scalar."""
    pitch = draw(st.sampled_from([0, 4 * (cols + draw(st.integers(0, 3)))]))
    return Affine(low + 4 * draw(st.integers(0, 9))), pitch, draw(st.sampled_from([0, 4]))


INTS = [0, 1, -1, 2, 31, 32, -7, 2**31 - 1, -(2**31), 2**16, -(2**16) - 1, 0x4B800000, 0x7F800001]
RIGHT = {
    "shift": np.arange(32),
    "floor": [1, -1, 2, -2, 3, -7, 2**31 - 1, -(2**31)],
    "truncate": [1, -1, 2, -2, 3, -7, 2**31 - 1, -(2**31)],
    "checked": np.arange(-40000, 40000),
}
"""Second operands with which an operation has a result, by how its name begins."""


def words(row: Operation, seed: int) -> list[np.ndarray]:
    """Return contents with numbers of what an operation reads where `operands` finds them."""
    filled, rng = with_odd(seed), np.random.default_rng(seed)
    numbers = filled[Mem.OBUF].view(np.int32)
    for number, dtype in enumerate(row.inputs):
        # The first one may also lie where the result does.
        for region in [number + 1, *([0] if number == 0 else [])]:
            if dtype == INT:
                numbers[250 * region : 250 * region + 250] = some_ints(row, number, rng)
    return filled


def some_ints(row: Operation, number: int, rng: np.random.Generator) -> np.ndarray:
    if not row.refused:
        odd = rng.random(250) < 0.5
        anything = rng.integers(-(2**31), 2**31, 250)
        return np.where(odd, rng.choice(INTS, 250), anything)
    if row.name == "dyadic":
        return rng.integers(-30, 32, 250) if number == 2 else rng.integers(-(2**31), 2**31, 250)
    if row.name == "index":
        return rng.integers(*[(-5, 6), (6, 60), (-60, -4)][number], 250)
    right = RIGHT[row.name.split("_")[0]]
    if number == 1 or row.name.startswith("checked"):
        return rng.choice(right, 250)
    return rng.integers(-(2**31) + 1, 2**31, 250)


@quick
@given(st.data(), boxes(4, end=1000, width=20), seeds)
@pytest.mark.parametrize("name", OPERATIONS)
def test_map(core, name, data, box, seed):
    rows, cols, dst, pitch = box
    row = OPERATIONS[name]
    given_ = [data.draw(operands(1000 * number, rows, cols)) for number in range(1, 4)]
    if seed % 3 == 0:
        given_[0] = Affine(dst), pitch, 4  # in its place
    given_[row.operands :] = [NO_OPERAND] * (3 - row.operands)
    flat = [value for each in given_ for value in each]
    code = isa.Map(row.code, Affine(dst), pitch, *flat, 0, 1)
    core(around([*clips(rows, cols), code]), TINY, words(row, seed))


LEAST, MOST = -(2**31), 2**31 - 1
BY_HAND = [
    ("int_add", MOST, 1, LEAST),
    ("int_subtract", LEAST, 1, MOST),
    ("int_multiply", 2**16, 2**16 + 1, 2**16),
    ("int_less", LEAST, MOST, 1.0),
    ("int_less_equal", 7, 7, 1.0),
    ("int_equal", 2**24, 2**24 + 1, 0.0),
    ("int_not_equal", 2**24, 2**24 + 1, 1.0),
    ("floor_divide", -7, 2, -4),
    ("floor_divide", 7, -2, -4),
    ("floor_divide", LEAST, 1, LEAST),
    ("floor_modulo", -7, 2, 1),
    ("floor_modulo", 7, -2, -1),
    ("floor_modulo", -8, 2, 0),
    ("truncate_divide", -7, 2, -3),
    ("truncate_modulo", -7, 2, -1),
    ("shift_left", 3, 31, LEAST),
    ("shift_right", LEAST, 31, -1),
    ("shift_right", -5, 1, -3),
    ("bit_xor", -1, 5, -6),
    ("checked_add", MOST, 0, MOST),
    ("checked_subtract", -1, MOST, LEAST),
    ("checked_multiply", -(2**16), 2**15, LEAST),
]
REFUSED = [
    ("checked_add", MOST, 1, "doesn't fit 32 bits, in which the vector unit computes int64"),
    ("checked_subtract", LEAST, 1, "doesn't fit 32 bits, in which"),
    ("checked_multiply", 2**16, 2**15, "doesn't fit 32 bits, in which"),
    ("floor_divide", 7, 0, "has no 32-bit result; allowed: divisors but 0"),
    ("floor_modulo", LEAST, -1, "has no 32-bit result; allowed: divisors but 0"),
    ("truncate_divide", LEAST, -1, "and all but -2147483648 by -1"),
    ("truncate_modulo", 0, 0, "has no 32-bit result"),
    ("shift_left", 1, 32, "shifts too far; allowed: 0 to 31 bits"),
    ("shift_right", 1, -1, "shifts too far; allowed: 0 to 31 bits"),
]


DYADIC = OPERATIONS["dyadic"].code


@pytest.mark.parametrize(
    ("value", "factor", "shift", "expected"),
    [
        (1000, 2**30, 0, 500),
        (3, 2**30, 0, 2),
        (-3, 2**30, 0, -1),
        (5, 2**30, 2, 1),
        (5, 2**30, -3, 20),
        (MOST, MOST, 31, 1),
        (LEAST, LEAST, 0, LEAST),
    ],
)
def test_dyadic_by_hand(core, value, factor, shift, expected):
    filled = contents(0)
    filled[Mem.OBUF].view(np.int32)[:3] = value, factor, shift
    code = isa.Map(DYADIC, Affine(64), 4, Affine(), 0, 4, Affine(4), 0, 4, Affine(8), 0, 4, 0, 1)
    found = core(around([*clips(1, 1), code]), TINY, filled)[Mem.OBUF].view(np.int32)[16]
    assert found == expected


def test_dyadic_refuses_shifts(core):
    filled = contents(0)
    filled[Mem.OBUF].view(np.int32)[:3] = 7, 8, 32
    code = isa.Map(DYADIC, Affine(64), 4, Affine(), 0, 4, Affine(4), 0, 4, Affine(8), 0, 4, 0, 1)
    text = "dyadic of 7 and 8 and 32 shifts too far; allowed: -30 to 31 as the last"
    with pytest.raises(SimError, match=f"row 0, column 0: {text}"):
        core(around([*clips(1, 1), code]), TINY, filled)
    with pytest.raises(SimError, match=f"obuf address 0x40: {text}"):
        run_core(around([*clips(1, 1), code]), TINY, filled)


INDEX = OPERATIONS["index"].code


@pytest.mark.parametrize(
    ("index", "least", "expected"), [(9, -10, 9), (-10, -10, 0), (-1, -10, 9), (0, 0, 0)]
)
def test_index_by_hand(core, index, least, expected):
    filled = contents(0)
    filled[Mem.OBUF].view(np.int32)[:3] = index, 10, least
    code = isa.Map(INDEX, Affine(64), 4, Affine(), 0, 4, Affine(4), 0, 4, Affine(8), 0, 4, 0, 1)
    found = core(around([*clips(1, 1), code]), TINY, filled)[Mem.OBUF].view(np.int32)[16]
    assert found == expected


@pytest.mark.parametrize(("index", "least"), [(10, -10), (-11, -10), (-1, 0)])
def test_index_refuses_what_is_outside(core, index, least):
    filled = contents(0)
    filled[Mem.OBUF].view(np.int32)[:3] = index, 10, least
    code = isa.Map(INDEX, Affine(64), 4, Affine(), 0, 4, Affine(4), 0, 4, Affine(8), 0, 4, 0, 1)
    with pytest.raises(SimError, match=f"index of {index} and 10 and {least} is outside"):
        core(around([*clips(1, 1), code]), TINY, filled)
    # Whoever runs a model gave the index.
    with pytest.raises(InputError, match=f"is outside; allowed: {least} to 9; given {index}"):
        run_core(around([*clips(1, 1), code]), TINY, filled)


def pair(name: str, a: int, b: int) -> tuple:
    """Return a function of one operation on the third column of two rows of 1, and its inputs."""
    filled = contents(0)
    filled[Mem.OBUF].view(np.int32)[:16] = [1] * 16
    filled[Mem.OBUF].view(np.int32)[[2, 6]] = a, b
    code = isa.Map(
        OPERATIONS[name].code,
        Affine(64),
        16,
        Affine(),
        0,
        4,
        Affine(16),
        0,
        4,
        Affine(),
        0,
        0,
        0,
        1,
    )
    return around([*clips(1, 4), code]), TINY, filled


@pytest.mark.parametrize(("name", "a", "b", "expected"), BY_HAND)
def test_integers_by_hand(core, name, a, b, expected):
    found = core(*pair(name, a, b))[Mem.OBUF].view(np.int32)[18:19]
    assert (found.view(np.float32) if isinstance(expected, float) else found)[0] == expected


@pytest.mark.parametrize(("name", "a", "b", "message"), REFUSED)
def test_what_has_no_result_ends_the_run(core, name, a, b, message):
    function, arch, filled = pair(name, a, b)
    text = f"{name} of {a} and {b} .*{message}"
    with pytest.raises(SimError, match=f"row 0, column 2: {text}"):
        core(function, arch, filled)
    with pytest.raises(SimError, match=f"obuf address 0x48: {text}"):
        run_core(function, arch, filled)


def run_core(function, arch, filled):
    module = create(Program.for_arch(arch, {function.name: function}).to_bytes())
    outputs = [np.zeros(a.shape, a.dtype) for a in function.arguments if a.is_output]
    module[function.name](*map(tvm_ffi.from_dlpack, [*filled, *outputs]))


@quick
@given(boxes(4, end=3000, width=90), st.integers(1, 3), bits, seeds)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduce(core, name, box, apart, odd, seed):
    rows, cols, src, pitch = box
    code = isa.Reduce(REDUCTIONS[name].code, Affine(3100), 4 * apart, Affine(src), pitch, 0, 1)
    filled = with_odd(seed) if odd else contents(seed)
    if seed % 3 == 0:  # equal ones, and none that beats where a search starts
        numbers = filled[Mem.OBUF].view(np.float32)
        numbers[:] = np.random.default_rng(seed).choice(
            np.float32([-np.inf, np.inf, 1.0, LARGEST, -LARGEST]), len(numbers)
        )
    core(around([*clips(rows, cols), code]), TINY, filled)


PARTIAL = [name for name, row in REDUCTIONS.items() if row.inputs == (row.output,)]


@quick
@given(boxes(4, end=2800, width=90), bits, seeds)
@pytest.mark.parametrize("name", PARTIAL)
def test_reduce_part(core, name, box, odd, seed):
    rows, cols, src, pitch = box
    code = REDUCTIONS[name].code
    filled = with_odd(seed) if odd else contents(seed)
    parts = [isa.ReducePart(code, Affine(2800), 64, Affine(src), pitch, 0, 1, Affine(seed % 2))]
    core(around([*clips(rows, cols), *parts]), TINY, filled)


@quick
@given(st.integers(1, 3), st.integers(1, 200), st.integers(1, 12), seeds)
@pytest.mark.parametrize("name", PARTIAL)
def test_parts_are_the_whole(core, name, rows, cols, step, seed):
    """A row in pieces of a multiple of 16 columns gives the bits of the row at once."""
    code, step = REDUCTIONS[name].code, 16 * step
    pieces = []
    for first in range(0, cols, step):
        here = Affine(4 * first)
        pieces += clips(rows, min(step, cols - first))
        pieces.append(isa.ReducePart(code, Affine(2600), 64, here, 800, 0, 1, Affine(first)))
    whole = [*clips(rows, cols), isa.Reduce(code, Affine(3000), 4, Affine(), 800, 0, 1)]
    after = [*clips(rows, 16), isa.Reduce(code, Affine(3100), 4, Affine(2600), 64, 0, 1)]
    found = core(around([*pieces, *whole, *after]), TINY, with_odd(seed))
    words = found[Mem.OBUF].view(np.uint32)
    np.testing.assert_array_equal(words[775 : 775 + rows], words[750 : 750 + rows])


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("argmax", [1, 3, 3, 2], 1),
        ("argmin", [1, -0.0, 0.0, 2], 1),
        ("argmax", [9, np.nan, 1, 3], 3),
        ("argmax", [9, 1, np.nan], 2),
        ("argmax", [-np.inf, -np.inf], -1),
        ("argmin", [np.inf, np.finfo(np.float32).max], -1),
    ],
)
def test_places_by_hand(core, name, row, expected):
    filled = contents(0)
    filled[Mem.OBUF].view(np.float32)[: len(row)] = row
    code = isa.Reduce(REDUCTIONS[name].code, Affine(64), 4, Affine(), 0, 0, 1)
    found = core(around([*clips(1, len(row)), code]), TINY, filled)
    assert found[Mem.OBUF].view(np.int32)[16] == expected


@quick
@given(boxes(4), st.integers(LEAST, MOST), seeds)
def test_fill_int(core, box, value, seed):
    rows, cols, dst, pitch = box
    fill = isa.FillInt(Affine(dst), pitch, value, 0, 1)
    core(around([*clips(rows, cols), fill]), TINY, contents(seed))


@quick
@given(boxes(4), st.floats(width=32, allow_nan=False), seeds)
def test_fill(core, box, value, seed):
    rows, cols, dst, pitch = box
    fill = isa.Fill(Affine(dst), pitch, value, 0, 1)
    core(around([*clips(rows, cols), fill]), TINY, contents(seed))
