"""target/isa/sizes.py: functions for sizes that a call decides, saved, refused and made."""

import dataclasses

import pytest

from microscopiq.target.arch import load_arch
from microscopiq.target.errors import InputError, IsaError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.sizes import Row, Size, Sizes
from microscopiq.target.isa.spec import LOOP_DEPTH, Affine

ARCH = load_arch("tiny-4x4")
SIZES = Sizes(
    (Size("n", 1, 40, 0, 1, 3, 2),),
    # (n + 3) // 4, 4 * n, 3 * n + 2, (n + 7) // 8 and n * n
    (
        Row(4, ((1, (0,)), (3, ()))),
        Row(1, ((4, (0,)),)),
        Row(1, ((3, (0,)), (2, ()))),
        Row(8, ((1, (0,)), (7, ()))),
        Row(1, ((1, (0, 0)),)),
    ),
    ((0, 1, 3), (1, 0, 4)),
    ((0, 0, 0, 1), (1, 2, 0, 0), (1, 3, 0, 2), (1, 3, 1, 5)),
)


def affine(base: int, stride: int) -> Affine:
    return Affine(base, (stride,) + (0,) * (LOOP_DEPTH - 1))


def function(sizes: Sizes = SIZES) -> Function:
    """Return a function of a loop and a clip that follow its size."""
    code = (isa.Loop(10), isa.Clip(1, 4, 40, affine(160, 1600)), isa.EndLoop(), isa.End())
    arguments = (
        Argument("x", "float32", (2, 122)),
        Argument("y", "float32", (5,), is_output=True),
    )
    return Function("f", "layer", arguments, code, sizes=sizes)


def program(sizes: Sizes = SIZES) -> Program:
    return Program.for_arch(ARCH, {"f": function(sizes)})


def test_load_inverts_save():
    data = program().to_bytes()
    assert Program.from_bytes(data) == program()
    assert Program.from_bytes(data).to_bytes() == data


def test_a_function_for_a_size():
    made = function().at({"n": 9})
    assert made.code[0] == isa.Loop(3)
    assert made.code[1] == isa.Clip(1, 4, 9, affine(36, 81))
    assert [argument.shape for argument in made.arguments] == [(2, 29), (2,)]
    assert not made.sizes and made.at({}) is made
    assert function().at({"n": 40}) == dataclasses.replace(function(), sizes=made.sizes)


def test_listing_has_bounds_and_formulas():
    text = program().listing()
    assert "; n: 1 to 40, 3*n+2 is arg0, dimension 1" in text
    assert "loop count=10  ; follows (n+3)//4" in text
    assert "; follows n, 4*n, n*n" in text


def test_sizes_of_arguments():
    assert SIZES.of([(2, 29), (2,)]) == {"n": 9}
    with pytest.raises(InputError, match=r"dimension 1: 125; allowed: 3\*n\+2 with n from 1 to 40"):
        SIZES.of([(2, 125), (5,)])
    with pytest.raises(InputError, match="argument 0, dimension 1: 2; allowed"):
        SIZES.of([(2, 2), (0,)])
    with pytest.raises(InputError, match="argument 0, dimension 1: 30; allowed"):
        SIZES.of([(2, 30), (2,)])


def changed(**fields) -> Sizes:
    return dataclasses.replace(SIZES, **fields)


SIZE, *_ = SIZES.sizes
BAD = {
    "size 'n': from 0 to 40; allowed: 1 to": changed(sizes=(dataclasses.replace(SIZE, least=0),)),
    "dimension 1 isn't 3 . 41": changed(sizes=(dataclasses.replace(SIZE, most=41),)),
    "argument 2, dimension 1 isn't": changed(sizes=(dataclasses.replace(SIZE, argument=2),)),
    "two sizes are named 'n'": changed(sizes=(SIZE, SIZE)),
    "divisor 0; allowed": changed(rows=(Row(0, ()), *SIZES.rows[1:])),
    "needs value 1; allowed: earlier ones": changed(rows=(Row(1, ((1, (1,)),)), *SIZES.rows[1:])),
    "9 factors; allowed: up to 8": changed(rows=(Row(1, ((1, (0,) * 9),)), *SIZES.rows[1:])),
    "value 1 leaves 62 bits": changed(rows=(Row(1, ((1 << 62, ()),)), *SIZES.rows[1:])),
    "value 1 is 43 for the largest sizes; 10": changed(
        rows=(Row(1, ((1, (0,)), (3, ()))), *SIZES.rows[1:])
    ),
    "value 9; the function has 6": changed(operands=((0, 0, 0, 9),)),
    "argument 1, dimension 1 isn't there": changed(extents=((1, 1, 4),)),
    "value for instruction 4; the function has 4": changed(operands=((4, 0, 0, 1),)),
    "operand 0, place 0 follows no size": changed(operands=((1, 0, 0, 1),)),
    "loop: operand 1, place 0 follows no size": changed(operands=((0, 1, 0, 1),)),
    "place 1 follows no size": changed(operands=((0, 0, 1, 1),)),
    "allowed: in order": changed(operands=(SIZES.operands[1], SIZES.operands[0])),
}


@pytest.mark.parametrize("message", BAD)
def test_refusals(message):
    with pytest.raises(IsaError, match=message):
        Program.from_bytes(program(BAD[message]).to_bytes())
