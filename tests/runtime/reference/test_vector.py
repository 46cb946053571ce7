"""runtime/reference/vector.py against the C++ core, and both against what is written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.spec import Affine, Mem
from microscopiq.target.vector_operations import OPERATIONS, REDUCTIONS
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

ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, 2.5, -0.5, -1.5, 2.0**23, 2.0**23 - 0.5, 1e-45]
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
    core(around([*clips(rows, cols), code]), TINY, with_odd(seed))


@quick
@given(boxes(4, end=3000, width=90), st.integers(1, 3), bits, seeds)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduce(core, name, box, apart, odd, seed):
    rows, cols, src, pitch = box
    code = isa.Reduce(REDUCTIONS[name].code, Affine(3100), 4 * apart, Affine(src), pitch, 0, 1)
    core(around([*clips(rows, cols), code]), TINY, with_odd(seed) if odd else contents(seed))


@quick
@given(boxes(4), st.floats(width=32, allow_nan=False), seeds)
def test_fill(core, box, value, seed):
    rows, cols, dst, pitch = box
    fill = isa.Fill(Affine(dst), pitch, value, 0, 1)
    core(around([*clips(rows, cols), fill]), TINY, contents(seed))
