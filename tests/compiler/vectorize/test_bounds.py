"""compiler/passes/vectorize/bounds.py: casts go where they change nothing, and only there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.operators import LOAD, MAP, Value
from microscopiq.compiler.passes.vectorize.bounds import WORD, bounds_of, within
from microscopiq.compiler.passes.vectorize.values import Values
from microscopiq.runtime.reference.integers import INTEGERS, apply_integers
from microscopiq.target.isa import instructions as isa
from microscopiq.target.vector_operations import OPERATIONS
from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check

EDGES = st.sampled_from([WORD[0], -129, -128, -1, 0, 1, 31, 32, 127, 128, 255, WORD[1]])
WORDS = EDGES | st.integers(*WORD)


@given(
    name=st.sampled_from([name for name in INTEGERS if OPERATIONS[name].operands == 2]),
    one=st.tuples(WORDS, WORDS).map(sorted),
    other=st.tuples(WORDS, WORDS).map(sorted),
    data=st.data(),
)
def test_a_result_is_always_within_its_bounds(name, one, other, data):
    low, high = bounds_of(Value(MAP, name, (0, 1)), [tuple(one), tuple(other)])
    pair = [np.int32([data.draw(st.integers(*each))]) for each in (one, other)]
    if "divide" in name or "modulo" in name:
        pair[1] = np.where(np.isin(pair[1], (0, -1)), np.int32(2), pair[1])
    elif "shift" in name:
        pair[1] = pair[1] & 31
        other = (int(pair[1][0]),) * 2
        low, high = bounds_of(Value(MAP, name, (0, 1)), [tuple(one), other])
    elif name.startswith("checked"):
        return  # leaves the words, and ends the run
    assert low <= int(apply_integers(OPERATIONS[name], *pair)[0]) <= high


def clipped(values, low, high):
    loaded = values.add(Value(LOAD, wide=True))
    most = values.map("int_min", loaded, values.number(high))
    return values.map("int_max", most, values.number(low))


@pytest.mark.parametrize(
    ("target", "low", "high"), [("int8", -128, 127), ("uint8", 0, 255), ("int16", -32768, 32767)]
)
def test_what_fits_a_type_is_cast_by_nothing(target, low, high):
    for least, most, changes in ((low, high, False), (low - 1, high, True), (low, high + 1, True)):
        values = Values()
        value = clipped(values, least, most)
        assert (values.cast(value, "int32", target) != value) is changes


def test_a_shift_that_is_not_known_to_be_short_is_masked():
    for high, masked in ((31, False), (32, True)):
        values = Values()
        count = clipped(values, 0, high)
        safe = values.safe("shift_right", count, False)
        assert (values[safe].operation == "bit_and") is masked
    assert within((0, 31), (0, 31)) and not within((-1, 31), (0, 31))


@pytest.mark.parametrize(("counts", "sums"), [(True, 1), (False, 2)])
def test_a_sum_that_fits_needs_no_halves(counts, sums):
    def body(emit, x):
        if counts:
            x = emit(op.astype(emit(op.less(x, relax.const(5, "int64"))), "int64"))
        return emit(op.sum(x, [1]))

    x = np.int64([[7, 8, 1], [0, 9, -(2**28)]])
    state, _ = check(make.module(body, x.shape, dtype="int64"), "tiny-4x4", [x])
    (function,) = state.program.functions.values()
    assert sum(isinstance(each, isa.Reduce) for each in function.code) == sums


def test_a_shift_to_the_right_leaves_few_bits():
    values = Values()
    loaded = values.add(Value(LOAD, wide=True))
    shifted = values.map("shift_right", loaded, values.number(24))
    assert values.cast(shifted, "int32", "int8") == shifted
    less = values.map("shift_right", loaded, values.number(23))
    assert values.cast(less, "int32", "int8") != less
